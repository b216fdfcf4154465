// Patients that may be the same person. Admins merge them into the patient.

import { useState } from "preact/hooks";
import { patients } from "../api/clients";
import { useLoaded } from "../api/hooks";
import { isAdmin } from "../api/session";
import type { Duplicate, Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Text } from "../ui/content";
import { Dialog } from "../ui/dialog";
import { Empty, Failed, ProblemNotice, Skeleton } from "../ui/states";
import { Table, type Column } from "../ui/table";
import type { FieldName } from "./fields";

const COLUMNS: Column<Duplicate>[] = [
  { label: text.fields.name, cell: ({ patient }) => patient && <Link patient={patient} /> },
  { label: text.fields.date_of_birth, kind: "number", cell: ({ patient }) => patient?.dateOfBirth },
  { label: text.fields.email, cell: ({ patient }) => <Text value={patient?.email ?? ""} /> },
  {
    label: text.duplicates.similar,
    cell: ({ similarFields }) => similarFields.map((name) => text.fields[name as FieldName]).join(", "),
  },
];

export function Duplicates({ patient }: { patient: Patient }) {
  const [merged, setMerged] = useState<Patient>();
  const { value, problem, reload } = useLoaded(
    (signal) => patients.findDuplicates({ id: patient.id }, { signal }),
    [patient.id, patient.etag],
  );
  if (problem) return <Failed title={text.duplicates.failed} problem={problem} retry={reload} />;
  if (!value) return <Skeleton rows={4} />;
  if (value.duplicates.length === 0) return <Empty title={text.duplicates.emptyTitle} hint={text.duplicates.emptyHint} />;
  const merge: Column<Duplicate> = {
    label: text.duplicates.merge,
    kind: "actions",
    cell: (duplicate) => (
      <button type="button" onClick={() => setMerged(duplicate.patient)}>
        {text.duplicates.merge}
      </button>
    ),
  };
  return (
    <>
      <Table
        items={value.duplicates}
        columns={isAdmin.value ? [...COLUMNS, merge] : COLUMNS}
        identify={(duplicate) => duplicate.patient?.id ?? ""}
      />
      {merged && <Merge survivor={patient} merged={merged} onMerged={reload} onClose={() => setMerged(undefined)} />}
    </>
  );
}

function Link({ patient }: { patient: Patient }) {
  return (
    <a href={`#/patients/${patient.id}`}>
      <Text value={patient.name} />
    </a>
  );
}

interface MergeProperties {
  survivor: Patient;
  merged: Patient;
  onMerged: () => void;
  onClose: () => void;
}

/** Asks for a confirmation. The merge fails if one of the patients has changed since it was shown. */
function Merge({ survivor, merged, onMerged, onClose }: MergeProperties) {
  const { busy, problem, run } = useAction();
  const merge = async () => {
    const request = { id: survivor.id, etag: survivor.etag, mergedId: merged.id, mergedEtag: merged.etag };
    if (!(await run(() => patients.mergePatients(request), text.duplicates.merged))) return;
    onMerged();
    onClose();
  };
  return (
    <Dialog
      title={text.duplicates.title}
      action={text.duplicates.merge}
      dangerous
      busy={busy}
      onConfirm={() => void merge()}
      onClose={onClose}
    >
      <p>
        <strong>
          <Text value={merged.name} />
        </strong>{" "}
        <Text value={merged.email} />
      </p>
      <p>{text.duplicates.hint}</p>
      {problem && <ProblemNotice title={text.duplicates.notMerged} problem={problem} />}
    </Dialog>
  );
}
