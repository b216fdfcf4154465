// Changes of all patients, as they happen.

import { useEffect } from "preact/hooks";
import { KINDS } from "../patients/kinds";
import { Actor } from "../patients/history";
import type { Revision } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Badge, Text, Time } from "../ui/content";
import { Page } from "../ui/page";
import { Empty } from "../ui/states";
import { changes, connected, watch } from "./watch";

export function Live() {
  useEffect(watchWhileVisible, []);
  const state = (
    <span role="status">
      <Badge kind={connected.value ? "good" : "warning"}>{connected.value ? text.live.connected : text.live.connecting}</Badge>
    </span>
  );
  return (
    <Page title={text.live.title} actions={state}>
      {changes.value.length === 0 ? (
        <Empty title={text.live.emptyTitle} hint={text.live.emptyHint} />
      ) : (
        <ol class="timeline" aria-live="polite" reversed>
          {changes.value.map((revision) => (
            <Change key={`${revision.patient?.id} ${revision.revision}`} revision={revision} />
          ))}
        </ol>
      )}
    </Page>
  );
}

function Change({ revision }: { revision: Revision }) {
  return (
    <li class="arriving">
      <div class="event">
        <Badge kind={KINDS[revision.type]}>{text.history.types[revision.type]!}</Badge>
        <a href={`#/patients/${revision.patient?.id}/history`}>
          <Text value={revision.patient?.name || (revision.patient?.id ?? "")} />
        </a>
        <Time at={revision.occurTime} />
        <span class="muted">
          {text.history.by} <Actor id={revision.actorId} />
        </span>
      </div>
    </li>
  );
}

/** Watches while the page is visible. Browsers limit the connections to a host, and a stream keeps one. */
function watchWhileVisible(): () => void {
  let abort = new AbortController();
  const follow = () => {
    abort.abort();
    abort = new AbortController();
    if (document.visibilityState === "visible") void watch(abort.signal);
  };
  follow();
  document.addEventListener("visibilitychange", follow);
  return () => {
    document.removeEventListener("visibilitychange", follow);
    abort.abort();
  };
}
