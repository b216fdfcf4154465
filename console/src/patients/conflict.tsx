// The comparison of a user's changes with those that another user saved meanwhile.

import type { TargetedEvent } from "preact";
import { useState } from "preact/hooks";
import { text } from "../strings";
import { Text } from "../ui/content";
import { Notice } from "../ui/states";
import { display, FIELDS, type FieldName, type Values } from "./fields";

interface Properties {
  base: Values;
  theirs: Values;
  mine: Values;
  busy: boolean;
  onSave: (values: Values) => void;
  onDiscard: () => void;
}

/** Offers both values of each field in which they differ. Changes of different fields are combined. */
export function Conflict({ base, theirs, mine, busy, onSave, onDiscard }: Properties) {
  const differing = FIELDS.filter((name) => theirs[name] !== mine[name]);
  const [isMine, setIsMine] = useState<Partial<Record<FieldName, boolean>>>(() =>
    Object.fromEntries(differing.map((name) => [name, mine[name] !== base[name]])),
  );
  const submit = (event: TargetedEvent<HTMLFormElement>) => {
    event.preventDefault();
    const chosen = { ...theirs };
    for (const name of differing) if (isMine[name]) chosen[name] = mine[name];
    onSave(chosen);
  };
  const option = (name: FieldName, values: Values, mineChosen: boolean, label: string) => (
    <td data-label={label}>
      <label class="choice">
        <input
          type="radio"
          name={name}
          aria-label={`${text.fields[name]}: ${label}`}
          checked={Boolean(isMine[name]) === mineChosen}
          onChange={() => setIsMine({ ...isMine, [name]: mineChosen })}
        />
        <Value name={name} values={values} />
      </label>
    </td>
  );
  return (
    <form class="card form" onSubmit={submit}>
      <Notice kind="warning">{text.conflict.hint}</Notice>
      <table class="stack comparison">
        <thead>
          <tr>
            <th scope="col">{text.conflict.field}</th>
            <th scope="col">{text.conflict.base}</th>
            <th scope="col">{text.conflict.theirs}</th>
            <th scope="col">{text.conflict.mine}</th>
          </tr>
        </thead>
        <tbody>
          {differing.map((name) => (
            <tr key={name}>
              <th scope="row">{text.fields[name]}</th>
              <td data-label={text.conflict.base}>
                <Value name={name} values={base} />
              </td>
              {option(name, theirs, false, text.conflict.theirs)}
              {option(name, mine, true, text.conflict.mine)}
            </tr>
          ))}
        </tbody>
      </table>
      <div class="actions">
        <button type="button" onClick={onDiscard}>
          {text.conflict.discard}
        </button>
        <button type="submit" class="primary" disabled={busy}>
          {text.conflict.save}
        </button>
      </div>
    </form>
  );
}

function Value({ name, values }: { name: FieldName; values: Values }) {
  const value = display(name, values);
  return value ? <Text value={value} /> : <span class="muted">{text.history.empty}</span>;
}
