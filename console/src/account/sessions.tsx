// The user's sessions, which can be ended.

import { auths } from "../api/clients";
import { usePages } from "../api/hooks";
import { end } from "../api/session";
import type { Session } from "../gen/pulsetrack/auth/v1/auth_pb";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Badge, Time } from "../ui/content";
import { PageList } from "../ui/page-list";
import { ProblemNotice } from "../ui/states";
import { Table, type Column } from "../ui/table";

export function Sessions() {
  const { busy, problem, run } = useAction();
  const pages = usePages(
    (pageToken, signal) => auths.listSessions({ pageToken }, { signal }),
    (page) => page.sessions,
    [],
  );
  const revoke = async (session: Session) => {
    const done = await run(() => auths.revokeSessions({ sessionId: session.id }), text.sessions.ended);
    if (done && session.current) end(true);
    else if (done) await pages.restart();
  };
  const revokeOthers = async () => {
    if (await run(() => auths.revokeSessions({}), text.sessions.othersEnded)) await pages.restart();
  };
  const columns: Column<Session>[] = [
    {
      label: text.sessions.client,
      cell: (session) => (
        <>
          <span class="agent">{session.userAgent || text.none}</span>
          {session.current && <Badge kind="accent">{text.sessions.current}</Badge>}
        </>
      ),
    },
    { label: text.sessions.address, cell: (session) => <code>{session.remoteAddress}</code> },
    { label: text.sessions.began, cell: (session) => <Time at={session.createTime} />, kind: "number" },
    { label: text.sessions.used, cell: (session) => <Time at={session.lastUseTime} />, kind: "number" },
    {
      label: text.sessions.end,
      kind: "actions",
      cell: (session) => (
        <button type="button" onClick={() => void revoke(session)} disabled={busy}>
          {text.sessions.end}
        </button>
      ),
    },
  ];
  return (
    <section class="section" aria-labelledby="sessions">
      <header>
        <h2 id="sessions">{text.sessions.title}</h2>
        <button type="button" onClick={() => void revokeOthers()} disabled={busy || pages.items.value.length < 2}>
          {text.sessions.endOthers}
        </button>
      </header>
      {problem && <ProblemNotice title={text.sessions.notEnded} problem={problem} />}
      <PageList pages={pages} failed={text.sessions.failed} empty={null}>
        {(sessions) => <Table items={sessions} columns={columns} identify={(session) => session.id} />}
      </PageList>
    </section>
  );
}
