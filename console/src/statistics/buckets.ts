// The buckets of a time range. The service omits those without events.

import { timestampFromDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import { toDate } from "../format";
import { Bucket, type StatisticsBucket } from "../gen/pulsetrack/analytics/v1/analytics_pb";

const DAY = 86_400_000;
/** The number of buckets that are shown. */
const COUNTS: Record<Bucket, number> = { [Bucket.UNSPECIFIED]: 30, [Bucket.DAY]: 30, [Bucket.WEEK]: 26, [Bucket.MONTH]: 24 };

/** Returns the starts of the last buckets up to now, oldest first, in UTC. */
export function bucketStarts(bucket: Bucket, now: Date): Date[] {
  const [year, month, day] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  const monday = day - ((now.getUTCDay() + 6) % 7);
  const startOf = (back: number) => {
    if (bucket === Bucket.MONTH) return Date.UTC(year, month - back, 1);
    return bucket === Bucket.WEEK ? Date.UTC(year, month, monday) - back * 7 * DAY : Date.UTC(year, month, day) - back * DAY;
  };
  return Array.from({ length: COUNTS[bucket] }, (_, index) => new Date(startOf(COUNTS[bucket] - 1 - index)));
}

export function rangeOf(starts: Date[]): { start: Timestamp } {
  return { start: timestampFromDate(starts[0]!) };
}

export interface Counts {
  start: Date;
  registrations: number;
  updates: number;
  deletions: number;
}

/** Returns the counts of all buckets, with zeros for those that the service omitted. */
export function fill(starts: Date[], buckets: StatisticsBucket[]): Counts[] {
  const byStart = new Map(buckets.map((bucket) => [toDate(bucket.startTime)?.getTime(), bucket]));
  return starts.map((start) => {
    const bucket = byStart.get(start.getTime());
    return {
      start,
      registrations: Number(bucket?.registrations ?? 0),
      updates: Number(bucket?.updates ?? 0),
      deletions: Number(bucket?.deletions ?? 0),
    };
  });
}
