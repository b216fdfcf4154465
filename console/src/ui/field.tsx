// Form fields with a label, a hint and an error.

import { text } from "../strings";

interface Properties {
  name: string;
  label: string;
  kind?: "input" | "area" | "select";
  type?: "text" | "email" | "password" | "tel";
  /** Not set if the form reads the value when it is submitted. */
  value?: string;
  options?: [value: string, label: string][];
  error?: string | undefined;
  hint?: string | undefined;
  required?: boolean;
  autoComplete?: string;
  placeholder?: string;
  onInput?: (value: string) => void;
}

/** A field. The server validates its value, so that each rule exists once. */
export function Field({ name, label, error, hint, required, ...control }: Properties) {
  const id = `field-${name}`;
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  const shared = {
    id,
    name,
    "aria-required": Boolean(required),
    "aria-invalid": Boolean(error),
    "aria-describedby": described || undefined,
  };
  return (
    <div class={error ? "field invalid" : "field"}>
      <label for={id}>
        {label}
        {required && (
          <span class="required" title={text.form.required} aria-hidden="true">
            {" *"}
          </span>
        )}
      </label>
      <Control {...control} shared={shared} />
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p class="error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}

type ControlProperties = Pick<Properties, "kind" | "type" | "value" | "options" | "autoComplete" | "placeholder" | "onInput"> & {
  shared: object;
};

function Control({ kind, type, value, options = [], autoComplete, placeholder, onInput, shared }: ControlProperties) {
  const common = {
    ...shared,
    ...(value === undefined ? {} : { value }),
    ...(autoComplete ? { autoComplete } : {}),
    onInput: (event: { currentTarget: { value: string } }) => onInput?.(event.currentTarget.value),
  };
  if (kind === "area") return <textarea dir="auto" rows={2} {...common} />;
  const typed: object = { type: type ?? "text", ...(placeholder ? { placeholder } : {}) }; // Preact types each type of input separately
  if (kind !== "select") return <input dir="auto" {...typed} {...common} />;
  return (
    <select {...common}>
      {options.map(([option, label]) => (
        <option key={option} value={option}>
          {label}
        </option>
      ))}
    </select>
  );
}
