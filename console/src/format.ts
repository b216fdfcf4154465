// Dates and times in ISO form, in the time zone of the browser.

import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";

export function toDate(timestamp: Timestamp | undefined): Date | undefined {
  return timestamp && timestampDate(timestamp);
}

export function isoDate(date: Date): string {
  return [date.getFullYear(), pad(date.getMonth() + 1), pad(date.getDate())].join("-");
}

export function isoMinute(date: Date): string {
  return `${isoDate(date)} ${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

/** Returns the age in whole years on a day. It is a range if only the year or month of birth is known. */
export function ageAt(birth: string, today: string): string {
  const ages = ["-12-31", "-01-01"].map((end) => wholeYears(birth + end.slice(birth.length - 4), today));
  return [...new Set(ages)].join("–");
}

function wholeYears(birth: string, today: string): number {
  const years = Number(today.slice(0, 4)) - Number(birth.slice(0, 4));
  return Math.max(0, today.slice(5) < birth.slice(5) ? years - 1 : years);
}

function pad(number: number): string {
  return String(number).padStart(2, "0");
}
