// The fields of the form of a patient.

import { text } from "../strings";
import { Field } from "../ui/field";
import type { FieldName, Values } from "./fields";

interface Properties {
  values: Values;
  errors: Record<string, string | undefined>;
  isNew: boolean;
  onChange: (name: FieldName, value: string) => void;
}

export function FormFields({ values, errors, isNew, onChange }: Properties) {
  const field = (name: FieldName) => ({
    name,
    label: text.fields[name],
    error: errors[name],
    value: values[name],
    onInput: (value: string) => onChange(name, value),
  });
  const date = { placeholder: text.form.dateForm, autoComplete: "off" };
  const sexes = text.sexes.map((label, value): [string, string] => [String(value), label]);
  return (
    <div class="form-grid">
      <Field {...field("name")} required autoComplete="off" />
      <Field {...field("email")} required type="email" autoComplete="off" />
      <Field {...field("date_of_birth")} required {...date} hint={text.form.birthHint} />
      <Field {...field("sex")} kind="select" options={sexes} />
      <Field {...field("address")} required kind="area" autoComplete="off" />
      <Field {...field("phone")} type="tel" hint={text.form.phoneHint} autoComplete="off" />
      <Field {...field("medical_record_number")} autoComplete="off" />
      <Field {...field("registered_date")} {...date} hint={isNew ? text.form.registeredHint : undefined} />
    </div>
  );
}
