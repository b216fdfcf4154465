// Icons, drawn on a grid of 20 by 20.

const PATHS = {
  patients: "M7.5 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM2 16.5c.4-3 2.6-4.6 5.5-4.6s5.1 1.6 5.5 4.600M13 3.900a2.8 2.8 0 0 1 0 5.300M15.2 12.300c1.6.7 2.6 2.1 2.8 4.2",
  live: "M2 10.500h3.500l2-6 4 11 2.2-5H18",
  statistics: "M3 17h14M5.5 14V9.500M10 14V4M14.5 14V7",
  account: "M10 10a3.3 3.3 0 1 0 0-6.600A3.3 3.3 0 0 0 10 10ZM3.5 17c.6-3.1 3-4.7 6.5-4.700s5.9 1.6 6.5 4.7",
  admin: "M10 2.5 4 5v4.500c0 4 2.5 6.7 6 8 3.5-1.3 6-4 6-8V5l-6-2.500ZM7.5 10l1.8 1.8 3.4-3.5",
  search: "M9 14.500a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM13 13l4 4",
  plus: "M10 4v12M4 10h12",
  back: "M12 4.5 6.5 10l5.5 5.5",
  warning: "M10 3 2.5 16.500h15L10 3ZM10 8v4M10 14.300v.1",
  signOut: "M8 3.500H4.500v13H8M12.5 6.5 16 10l-3.5 3.500M16 10H8",
};

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
      <path d={PATHS[name]} fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}
