// The sections of the console, in the order of the navigation.

import type { IconName } from "../ui/icons";

export type SectionName = "patients" | "live" | "statistics" | "account" | "admin";

export interface Section {
  name: SectionName;
  icon: IconName;
  /** Whether only admins can open it. */
  admin: boolean;
}

export const SECTIONS: Section[] = [
  { name: "patients", icon: "patients", admin: false },
  { name: "live", icon: "live", admin: false },
  { name: "statistics", icon: "statistics", admin: false },
  { name: "account", icon: "account", admin: false },
  { name: "admin", icon: "admin", admin: true },
];
