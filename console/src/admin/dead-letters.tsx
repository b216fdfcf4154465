// Messages that analytics could not store as events. A replay stores them after the cause has been removed.

import { analytics } from "../api/clients";
import { usePages } from "../api/hooks";
import type { DeadLetter } from "../gen/pulsetrack/analytics/v1/analytics_pb";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Badge, Time } from "../ui/content";
import { PageList } from "../ui/page-list";
import { Empty, ProblemNotice } from "../ui/states";
import { Table, type Column } from "../ui/table";

export function DeadLetters() {
  const { busy, problem, run } = useAction();
  const pages = usePages(
    (pageToken, signal) => analytics.listDeadLetters({ pageToken }, { signal }),
    (page) => page.deadLetters,
    [],
  );
  const replay = async (letter: DeadLetter) => {
    await run(() => analytics.replayDeadLetter({ id: letter.id }), text.deadLetters.replayed);
    await pages.restart(); // a failed replay changes the reason and the number of attempts
  };
  const columns: Column<DeadLetter>[] = [
    { label: text.deadLetters.received, cell: (letter) => <Time at={letter.receiveTime} />, kind: "number" },
    { label: text.deadLetters.reason, cell: (letter) => letter.reason },
    {
      label: text.deadLetters.position,
      cell: (letter) => <code>{`${letter.topic} ${letter.partition}:${letter.offset}`}</code>,
    },
    { label: text.deadLetters.attempts, cell: (letter) => letter.attempts, kind: "number" },
    {
      label: text.users.actions,
      kind: "actions",
      cell: (letter) =>
        letter.replayTime ? (
          <Badge kind="good">{text.deadLetters.stored}</Badge>
        ) : (
          <button type="button" disabled={busy} onClick={() => void replay(letter)}>
            {text.deadLetters.replay}
          </button>
        ),
    },
  ];
  return (
    <>
      {problem && <ProblemNotice title={text.deadLetters.notReplayed} problem={problem} />}
      <PageList
        pages={pages}
        failed={text.deadLetters.failed}
        empty={<Empty title={text.deadLetters.emptyTitle} hint={text.deadLetters.emptyHint} />}
      >
        {(letters) => <Table items={letters} columns={columns} identify={(letter) => letter.id} />}
      </PageList>
    </>
  );
}
