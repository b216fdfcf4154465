// The fields of a patient that users edit, as texts.

import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";

export type FieldName = keyof typeof text.fields;
export type Values = Record<FieldName, string>;

export const FIELDS = Object.keys(text.fields) as FieldName[];

export const EMPTY: Values = {
  name: "",
  email: "",
  address: "",
  date_of_birth: "",
  registered_date: "",
  phone: "",
  sex: "0",
  medical_record_number: "",
};

export function toValues(patient: Patient): Values {
  return {
    name: patient.name,
    email: patient.email,
    address: patient.address,
    date_of_birth: patient.dateOfBirth,
    registered_date: patient.registeredDate,
    phone: patient.phone,
    sex: String(patient.sex),
    medical_record_number: patient.medicalRecordNumber,
  };
}

export function toPatient(values: Values) {
  return {
    name: values.name,
    email: values.email,
    address: values.address,
    dateOfBirth: values.date_of_birth,
    registeredDate: values.registered_date,
    phone: values.phone,
    sex: Number(values.sex),
    medicalRecordNumber: values.medical_record_number,
  };
}

/** Returns the fields whose values differ. */
export function changedFields(one: Values, other: Values): FieldName[] {
  return FIELDS.filter((name) => one[name] !== other[name]);
}

/** Returns a value as users read it. */
export function display(name: FieldName, values: Values): string {
  return name === "sex" ? (text.sexes[Number(values.sex)] ?? values.sex) : values[name];
}
