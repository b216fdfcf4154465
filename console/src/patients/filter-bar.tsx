// The search and the filters of the list of patients.

import { useEffect, useRef } from "preact/hooks";
import { text } from "../strings";
import { Icon } from "../ui/icons";
import { filters, list, type Filters } from "./store";

const DEBOUNCE_MILLISECONDS = 180;

export function FilterBar() {
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const apply = (change: Partial<Filters>, wait = 0) => {
    filters.value = { ...filters.value, ...change };
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => void list.restart(), wait);
  };
  const { query, sex, showDeleted, orderBy } = filters.value;
  const sexes = [text.patients.anySex, ...text.sexes.slice(1)].map((label, value): Option => [String(value), label]);
  const sorts = Object.entries(text.patients.sorts).filter(([order]) => order || query);
  return (
    <search class="filters">
      <Search value={query} onInput={(value) => apply({ query: value }, DEBOUNCE_MILLISECONDS)} />
      <Choice label={text.patients.sex} value={String(sex)} options={sexes} onChange={(value) => apply({ sex: Number(value) })} />
      <Choice
        label={text.patients.sort}
        value={orderBy || (query ? "" : "create_time desc")}
        options={sorts}
        onChange={(value) => apply({ orderBy: value })}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={showDeleted}
          onChange={(event) => apply({ showDeleted: event.currentTarget.checked })}
        />
        {text.patients.showDeleted}
      </label>
    </search>
  );
}

function Search({ value, onInput }: { value: string; onInput: (value: string) => void }) {
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const focusSearch = (event: KeyboardEvent) => {
      if (event.key !== "/" || (event.target as Element).closest("input, textarea, select, dialog")) return;
      event.preventDefault();
      search.current?.focus();
    };
    addEventListener("keydown", focusSearch);
    return () => removeEventListener("keydown", focusSearch);
  }, []);
  return (
    <label class="search">
      <Icon name="search" />
      <span class="hidden">{text.patients.search}</span>
      <input
        ref={search}
        type="search"
        dir="auto"
        value={value}
        maxLength={100}
        placeholder={text.patients.searchHint}
        aria-keyshortcuts="/"
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
  );
}

type Option = [value: string, label: string];

interface ChoiceProperties {
  label: string;
  value: string;
  options: Option[];
  onChange: (value: string) => void;
}

function Choice({ label, value, options, onChange }: ChoiceProperties) {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      {options.map(([option, title]) => (
        <option key={option} value={option}>
          {title}
        </option>
      ))}
    </select>
  );
}
