// Statistics of all patients, as plots and tables.

import { useMemo, useState } from "preact/hooks";
import { analytics } from "../api/clients";
import { useLoaded } from "../api/hooks";
import { Bucket, type AgeBand, type PatientStatistics } from "../gen/pulsetrack/analytics/v1/analytics_pb";
import { text } from "../strings";
import { Time } from "../ui/content";
import { Page } from "../ui/page";
import { Failed, Skeleton } from "../ui/states";
import { bucketStarts, fill, rangeOf } from "./buckets";
import { Figure } from "./figure";

const BUCKETS = [Bucket.DAY, Bucket.WEEK, Bucket.MONTH] as const;

export function Statistics() {
  const [bucket, setBucket] = useState<Bucket>(Bucket.DAY);
  const starts = useMemo(() => bucketStarts(bucket, new Date()), [bucket]);
  const { value, problem, reload } = useLoaded(
    async (signal) => ({ bucket, starts, found: await analytics.getPatientStatistics({ ...rangeOf(starts), bucket }, { signal }) }),
    [bucket],
  );
  const choice = (
    <fieldset class="segments">
      <legend class="hidden">{text.statistics.bucket}</legend>
      {BUCKETS.map((each) => (
        <label key={each}>
          <input type="radio" name="bucket" checked={bucket === each} onChange={() => setBucket(each)} />
          <span>{text.statistics.buckets[each]}</span>
        </label>
      ))}
    </fieldset>
  );
  return (
    <Page title={text.statistics.title} actions={choice}>
      {problem ? (
        <Failed title={text.statistics.failed} problem={problem} retry={reload} />
      ) : value ? (
        <Content {...value} />
      ) : (
        <Skeleton rows={6} />
      )}
    </Page>
  );
}

interface Shown {
  bucket: Bucket;
  starts: Date[];
  found: PatientStatistics;
}

function Content({ bucket, starts, found }: Shown) {
  const figures = useMemo(() => figuresOf(starts, found, bucket), [starts, found]);
  return (
    <>
      <dl class="tiles">
        <Tile label={text.statistics.patients} value={found.totalPatients} />
        <Tile label={text.statistics.deleted} value={found.totalDeleted} />
        <Tile label={text.statistics.registrations} value={figures.sum("registrations")} />
        <Tile label={text.statistics.updates} value={figures.sum("updates")} />
      </dl>
      <div class="figures">
        <Figure {...figures.registrations} />
        <Figure {...figures.changes} />
        <Figure {...figures.ages} />
        <Figure {...figures.sexes} />
      </div>
      <p class="muted small count">
        {text.statistics.asOf} <Time at={found.asOfTime} />
      </p>
    </>
  );
}

function Tile({ label, value }: { label: string; value: bigint | number }) {
  return (
    <div class="card">
      <dt>{label}</dt>
      <dd class="number">{value.toLocaleString("en")}</dd>
    </div>
  );
}

function figuresOf(starts: Date[], found: PatientStatistics, bucket: Bucket) {
  const counts = fill(starts, found.buckets);
  const labels = counts.map(({ start }) => start.toISOString().slice(0, 10));
  const shortLabels = labels.map((label) => (bucket === Bucket.MONTH ? label.slice(0, 7) : label.slice(5)));
  const { statistics } = text;
  const column = (name: "registrations" | "updates" | "deletions", label: string, color: string) => ({
    label,
    color,
    values: counts.map((each) => each[name]),
  });
  return {
    sum: (name: "registrations" | "updates") => counts.reduce((sum, each) => sum + each[name], 0),
    registrations: {
      title: statistics.registrations,
      unit: statistics.start,
      labels,
      shortLabels,
      series: [column("registrations", statistics.registrations, "--accent")],
    },
    changes: {
      title: statistics.changes,
      unit: statistics.start,
      labels,
      shortLabels,
      series: [
        column("updates", statistics.updates, "--accent"),
        column("deletions", statistics.deletions, "--danger"),
      ],
    },
    ages: {
      title: statistics.ages,
      unit: statistics.age,
      labels: found.ageBands.map(ageLabel),
      series: [{ label: statistics.patients, color: "--accent", values: found.ageBands.map(({ count }) => Number(count)) }],
    },
    sexes: {
      title: text.fields.sex,
      unit: text.fields.sex,
      labels: found.sexes.map(({ sex }) => text.sexes[sex]!),
      series: [{ label: statistics.patients, color: "--accent", values: found.sexes.map(({ count }) => Number(count)) }],
    },
  };
}

function ageLabel({ fromAge, toAge }: AgeBand): string {
  return toAge ? `${fromAge}–${toAge}` : `${fromAge}+`;
}
