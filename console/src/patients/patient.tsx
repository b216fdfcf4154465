// A patient's record: its details, history, billing account and accesses.

import { useLoaded } from "../api/hooks";
import type { Problem } from "../api/problem";
import { isAdmin } from "../api/session";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Text } from "../ui/content";
import { Page } from "../ui/page";
import { Failed, Skeleton } from "../ui/states";
import { Access } from "./access";
import { Actions } from "./actions";
import { Billing } from "./billing";
import { Details } from "./details";
import { Duplicates } from "./duplicates";
import { PatientForm } from "./form";
import { HiddenBadge, HiddenNotice } from "./hidden";
import { History } from "./history";
import { loadPatient } from "./load";
import { update } from "./store";

export function PatientView({ id, tab }: { id: string; tab: string }) {
  const loaded = useLoaded((signal) => loadPatient(id, signal), [id]);
  const patient = loaded.value;
  const change = (changed: Patient) => {
    loaded.set(changed);
    update(changed);
  };
  if (patient && tab === "edit") return <PatientForm patient={patient} onSaved={change} />;
  if (patient) return <Record patient={patient} tab={tab} onChange={change} />;
  return (
    <Page title={text.patients.title} back="/patients">
      {loaded.problem ? <NotLoaded problem={loaded.problem} retry={loaded.reload} /> : <Skeleton rows={8} />}
    </Page>
  );
}

function NotLoaded({ problem, retry }: { problem: Problem; retry: () => void }) {
  const isMissing = problem.reason === "PATIENT_NOT_FOUND" || problem.reason === "FIELDS_INVALID";
  if (!isMissing) return <Failed title={text.patient.failed} problem={problem} retry={retry} />;
  return (
    <div class="state">
      <h2>{text.patient.missingTitle}</h2>
      <p>{text.patient.missingHint}</p>
      <a class="button" href="#/patients">
        {text.toPatients}
      </a>
    </div>
  );
}

interface Properties {
  patient: Patient;
  tab: string;
  onChange: (patient: Patient) => void;
}

function Record({ patient, tab, onChange }: Properties) {
  const heading = (
    <>
      <Text value={patient.name} />
      <HiddenBadge patient={patient} />
    </>
  );
  return (
    <Page
      title={patient.name}
      heading={heading}
      back="/patients"
      actions={<Actions patient={patient} onChange={onChange} />}
    >
      <HiddenNotice patient={patient} />
      <Tabs patient={patient} current={tab} />
      <Tab patient={patient} tab={tab} />
    </Page>
  );
}

function Tab({ patient, tab }: { patient: Patient; tab: string }) {
  if (tab === "history") return <History patient={patient} />;
  if (tab === "billing") return <Billing patient={patient} />;
  if (tab === "duplicates" && !patient.deleteTime) return <Duplicates patient={patient} />;
  if (tab === "access" && isAdmin.value) return <Access patient={patient} />;
  return <Details patient={patient} />;
}

function Tabs({ patient, current }: { patient: Patient; current: string }) {
  const tabs = (["details", "history", "billing", "duplicates", "access"] as const).filter(
    (tab) => (tab !== "access" || isAdmin.value) && (tab !== "duplicates" || !patient.deleteTime),
  );
  return (
    <nav class="tabs" aria-label={text.patient.tabsLabel}>
      {tabs.map((tab) => (
        <a key={tab} href={`#/patients/${patient.id}/${tab}`} aria-current={tab === current ? "page" : undefined}>
          {text.patient.tabs[tab]}
        </a>
      ))}
    </nav>
  );
}
