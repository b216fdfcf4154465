// The patients, found as the user types.

import { useLayoutEffect } from "preact/hooks";
import { useRestarts } from "../api/hooks";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { ageAt, isoDate } from "../format";
import { text } from "../strings";
import { Text } from "../ui/content";
import { Icon } from "../ui/icons";
import { Page } from "../ui/page";
import { PageList } from "../ui/page-list";
import { Empty } from "../ui/states";
import { FilterBar } from "./filter-bar";
import { HiddenBadge } from "./hidden";
import { filters, list, NO_FILTERS, scroll } from "./store";

export function PatientList() {
  useRestarts(list);
  useLayoutEffect(() => {
    scrollTo(0, scroll.top);
    const remember = () => (scroll.top = scrollY);
    addEventListener("scroll", remember, { passive: true });
    return () => removeEventListener("scroll", remember);
  }, []);
  const create = (
    <a class="button primary" href="#/patients/new">
      <Icon name="plus" />
      {text.patients.create}
    </a>
  );
  return (
    <Page title={text.patients.title} actions={create}>
      <FilterBar />
      <p class="muted small count" role="status">
        {list.loaded.value && text.patients.count(list.items.value.length, list.hasMore.value)}
      </p>
      <PageList pages={list} failed={text.patients.failed} empty={<NoPatients />}>
        {(items) => <PatientTable items={items} />}
      </PageList>
    </Page>
  );
}

function NoPatients() {
  const { query, sex } = filters.value;
  if (!query && !sex) return <Empty title={text.patients.emptyTitle} hint={text.patients.emptyHint} />;
  const clear = () => {
    filters.value = NO_FILTERS;
    void list.restart();
  };
  return (
    <Empty title={text.patients.noMatchTitle} hint={text.patients.noMatchHint}>
      <button type="button" onClick={clear}>
        {text.patients.clear}
      </button>
    </Empty>
  );
}

function PatientTable({ items }: { items: Patient[] }) {
  const today = isoDate(new Date());
  return (
    <table class="patients">
      <thead>
        <tr>
          <th scope="col">{text.fields.name}</th>
          <th scope="col">{text.fields.date_of_birth}</th>
          <th scope="col">{text.fields.sex}</th>
          <th scope="col">{text.fields.medical_record_number}</th>
          <th scope="col">{text.fields.phone}</th>
          <th scope="col">{text.fields.registered_date}</th>
        </tr>
      </thead>
      <tbody>
        {items.map((patient) => (
          <PatientRow key={patient.id} patient={patient} today={today} />
        ))}
      </tbody>
    </table>
  );
}

function PatientRow({ patient, today }: { patient: Patient; today: string }) {
  return (
    <tr>
      <td class="primary-cell">
        <a href={`#/patients/${patient.id}`}>
          <Text value={patient.name} />
        </a>
        <HiddenBadge patient={patient} />
        <span class="muted small block">
          <Text value={patient.email} />
        </span>
      </td>
      <td class="number">
        {patient.dateOfBirth} <span class="muted">· {ageAt(patient.dateOfBirth, today)}</span>
      </td>
      <td>
        <Optional value={patient.sex ? text.sexes[patient.sex]! : ""} />
      </td>
      <td class="number optional">
        <Optional value={patient.medicalRecordNumber} />
      </td>
      <td class="number optional">
        <Optional value={patient.phone} />
      </td>
      <td class="number optional">{patient.registeredDate}</td>
    </tr>
  );
}

function Optional({ value }: { value: string }) {
  return value ? <Text value={value} /> : <span class="muted">{text.none}</span>;
}
