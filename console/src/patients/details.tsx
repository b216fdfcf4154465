// The details of a patient.

import { ageAt, isoDate } from "../format";
import type { Patient } from "../gen/pulsetrack/patient/v1/patient_pb";
import { text } from "../strings";
import { Fact, Identifier, Text, Time } from "../ui/content";
import { display, FIELDS, toValues, type FieldName, type Values } from "./fields";

const NUMBERS: FieldName[] = ["date_of_birth", "registered_date", "phone", "medical_record_number"];

export function Details({ patient }: { patient: Patient }) {
  const values = toValues(patient);
  return (
    <div class="columns">
      <dl class="card facts">
        {FIELDS.filter((name) => name !== "name").map((name) => (
          <Fact key={name} label={text.fields[name]} kind={NUMBERS.includes(name) ? "number" : name === "address" ? "lines" : undefined}>
            <Value name={name} values={values} />
          </Fact>
        ))}
      </dl>
      <dl class="card facts">
        <Fact label={text.patient.created}>
          <Time at={patient.createTime} />
        </Fact>
        <Fact label={text.patient.updated}>
          <Time at={patient.updateTime} />
        </Fact>
        <Fact label={text.patient.id}>
          <Identifier value={patient.id} />
        </Fact>
      </dl>
    </div>
  );
}

function Value({ name, values }: { name: FieldName; values: Values }) {
  const value = display(name, values);
  if (!value) return <span class="muted">{text.none}</span>;
  if (name === "email") {
    return (
      <a href={`mailto:${value}`}>
        <Text value={value} />
      </a>
    );
  }
  if (name !== "date_of_birth") return <Text value={value} />;
  return (
    <>
      {value} <span class="muted">· {text.patient.age(ageAt(value, isoDate(new Date())))}</span>
    </>
  );
}
