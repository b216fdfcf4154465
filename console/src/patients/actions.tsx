// The actions on a patient's record: edit, delete and restore. Only admins delete and restore.

import { useState } from "preact/hooks";
import { patients } from "../api/clients";
import { reasonOf, type Problem } from "../api/problem";
import { isAdmin } from "../api/session";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { useAction } from "../ui/action";
import { Text } from "../ui/content";
import { Dialog } from "../ui/dialog";
import { Notice, ProblemNotice } from "../ui/states";
import { loadPatient } from "./load";

interface Properties {
  patient: Patient;
  onChange: (patient: Patient) => void;
}

export function Actions({ patient, onChange }: Properties) {
  const [confirming, setConfirming] = useState(false);
  if (patient.deleteTime) return isAdmin.value ? <Restore patient={patient} onChange={onChange} /> : null;
  return (
    <>
      {isAdmin.value && (
        <button type="button" onClick={() => setConfirming(true)}>
          {text.patient.remove}
        </button>
      )}
      <a class="button primary" href={`#/patients/${patient.id}/edit`}>
        {text.patient.edit}
      </a>
      {confirming && <Remove patient={patient} onChange={onChange} onClose={() => setConfirming(false)} />}
    </>
  );
}

function Restore({ patient, onChange }: Properties) {
  const { busy, problem, run } = useAction();
  const call = () => (patient.mergedInto ? patients.unmergePatients : patients.undeletePatient)({ id: patient.id });
  const restore = () => run(async () => onChange(await call()), text.patient.restored);
  return (
    <>
      {problem && <ProblemNotice title={text.patient.notChanged} problem={problem} />}
      <button type="button" class="primary" onClick={() => void restore()} disabled={busy}>
        {text.patient.restore}
      </button>
    </>
  );
}

/** Asks for a confirmation. If the patient has changed meanwhile, shows its current version instead of deleting it. */
function Remove({ patient, onChange, onClose }: Properties & { onClose: () => void }) {
  const { busy, problem, run } = useAction();
  const showCurrent = async (error: unknown) => {
    if (reasonOf(error) === "ETAG_MISMATCH") onChange(await loadPatient(patient.id));
    throw error;
  };
  const remove = async () => {
    const call = () => patients.deletePatient({ id: patient.id, etag: patient.etag }).catch(showCurrent);
    if (await run(async () => onChange(await call()), text.patient.removed)) onClose();
  };
  return (
    <Dialog
      title={text.patient.removeTitle}
      action={text.patient.remove}
      dangerous
      busy={busy}
      onConfirm={() => void remove()}
      onClose={onClose}
    >
      <p>
        <strong>
          <Text value={patient.name} />
        </strong>
      </p>
      <p>{text.patient.removeHint}</p>
      {problem && <RemoveProblem problem={problem} />}
    </Dialog>
  );
}

function RemoveProblem({ problem }: { problem: Problem }) {
  if (problem.reason !== "ETAG_MISMATCH") return <ProblemNotice title={text.patient.notChanged} problem={problem} />;
  return (
    <Notice kind="warning">
      <strong>{text.patient.changedTitle}</strong> {text.patient.changedHint}
    </Notice>
  );
}
