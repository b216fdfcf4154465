// A table that becomes a list of cards on phones.

import type { ComponentChildren } from "preact";

export interface Column<Item> {
  label: string;
  cell: (item: Item) => ComponentChildren;
  kind?: "number" | "actions";
}

interface Properties<Item> {
  items: Item[];
  columns: Column<Item>[];
  identify: (item: Item) => string;
}

export function Table<Item>({ items, columns, identify }: Properties<Item>) {
  return (
    <table class="stack">
      <thead>
        <tr>
          {columns.map(({ label, kind }) => (
            <th key={label} scope="col">
              {kind === "actions" ? <span class="hidden">{label}</span> : label}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {items.map((item) => (
          <tr key={identify(item)}>
            {columns.map(({ label, kind, cell }) => (
              <td key={label} class={kind ?? ""} data-label={kind === "actions" ? undefined : label}>
                {cell(item)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
