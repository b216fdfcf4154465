// The view of a patient that is deleted, or merged into another one.

import { isoMinute, toDate } from "../format";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Badge } from "../ui/content";
import { Notice } from "../ui/states";

export function HiddenBadge({ patient }: { patient: Patient }) {
  if (!patient.deleteTime) return null;
  return <Badge kind="bad">{patient.mergedInto ? text.patients.merged : text.patients.deleted}</Badge>;
}

export function HiddenNotice({ patient }: { patient: Patient }) {
  const time = toDate(patient.deleteTime);
  if (!time) return null;
  if (!patient.mergedInto) {
    return (
      <Notice kind="warning">
        <strong>{text.patient.deletedNotice(isoMinute(time))}</strong> {text.patient.deletedHint}
      </Notice>
    );
  }
  return (
    <Notice kind="warning">
      <strong>{text.patient.mergedNotice(isoMinute(time))}</strong>{" "}
      <a href={`#/patients/${patient.mergedInto}`}>{text.patient.survivor}</a>
    </Notice>
  );
}
