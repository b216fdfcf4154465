// The accesses to a patient's record. Only admins see them.

import { patients } from "../api/clients";
import { usePages } from "../api/hooks";
import type { AccessEvent, Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Badge, Time } from "../ui/content";
import { PageList } from "../ui/page-list";
import { Empty } from "../ui/states";
import { Table, type Column } from "../ui/table";
import { Actor } from "./history";

const COLUMNS: Column<AccessEvent>[] = [
  { label: text.access.time, cell: (event) => <Time at={event.occurTime} /> },
  { label: text.access.actor, cell: (event) => <Actor id={event.actorId} /> },
  { label: text.access.method, cell: (event) => event.method.split("/").at(-1) },
  {
    label: text.access.outcome,
    cell: (event) => <Badge kind={event.outcome === "OK" ? "good" : "bad"}>{event.outcome}</Badge>,
  },
  { label: text.access.address, cell: (event) => <code>{event.remoteAddress}</code> },
  { label: text.access.request, cell: (event) => <code title={event.requestId}>{event.requestId.slice(0, 8)}</code> },
];

export function Access({ patient }: { patient: Patient }) {
  const pages = usePages(
    (pageToken, signal) => patients.listAccessEvents({ id: patient.id, pageToken }, { signal }),
    (page) => page.accessEvents,
    [patient.id, patient.etag],
  );
  const empty = <Empty title={text.access.emptyTitle} hint={text.access.emptyHint} />;
  return (
    <PageList pages={pages} failed={text.access.failed} empty={empty}>
      {(events) => <Table items={events} columns={COLUMNS} identify={(event) => event.id} />}
    </PageList>
  );
}
