// The few drawings of the dashboard, 16 units square, in the colour of their text.

const PATHS = {
  running: <><circle cx="8" cy="8" r="6" /><path d="M8 8V2a6 6 0 0 1 6 6Z" fill="currentColor" stroke="none" /></>,
  waiting: <><circle cx="8" cy="8" r="6" /><path d="M8 4.5V8l2.5 2" /></>,
  retrying: <><path d="M13.5 8A5.5 5.5 0 1 1 11.6 3.8" /><path d="M11.9 1v3.2H8.7" /></>,
  late: <path d="M8 2.2 14.5 13.5h-13Z" fill="currentColor" />,
  compensating: <><path d="M13.5 12.5V9.2A3.7 3.7 0 0 0 9.8 5.5H3" /><path d="M6 2.5 3 5.5l3 3" /></>,
  completed: <path d="m2.5 8.5 3.6 3.7 7.4-8" strokeWidth="2" />,
  compensated: <><path d="M3.5 13h6.2a3.7 3.7 0 1 0 0-7.5H3" /><path d="M6 2.5 3 5.5l3 3" /></>,
  parked: <rect x="3" y="3" width="10" height="10" rx="1" fill="currentColor" stroke="none" />,
  anomaly: <path d="M8 2.5v7.2M8 12.4v1.2" strokeWidth="2.4" />,
  pending: <circle cx="8" cy="8" r="5" strokeDasharray="2.2 2.2" />,
  skipped: <path d="M3 4.5 7 8l-4 3.5M8.5 4.5l4 3.5-4 3.5" />,
  rejected: <path d="m4 4 8 8M12 4l-8 8" strokeWidth="2" />,
  unknown: <path d="M5.5 6a2.6 2.6 0 1 1 3.6 2.4c-.7.3-1.1.8-1.1 1.6M8 12.6v.9" />,
  abandoned: <><circle cx="8" cy="8" r="6" /><path d="m4 12 8-8" /></>,
  copy: <><rect x="5.5" y="5.5" width="8" height="8" rx="1.2" /><path d="M10.5 5.5v-3h-8v8h3" /></>,
  done: <path d="m3 8.5 3.2 3.3L13 4.5" />,
  close: <path d="m4 4 8 8M12 4l-8 8" />,
  menu: <path d="M2 4h12M2 8h12M2 12h12" />,
  more: <path d="M3.5 8h.1M8 8h.1M12.5 8h.1" strokeWidth="2.4" />,
  search: <><circle cx="7" cy="7" r="4.5" /><path d="m10.5 10.5 3.5 3.5" /></>,
  down: <path d="m4 6 4 4 4-4" />,
  up: <path d="m4 10 4-4 4 4" />,
  right: <path d="m6 4 4 4-4 4" />,
  external: <path d="M9.5 2.5h4v4M13.5 2.5 8 8M11.5 9.5v4h-9v-9h4" />,
  fit: <path d="M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10" />,
  hold: <path d="M5 3v10M11 3v10" strokeWidth="2.6" />,
  pivot: <path d="M8 1.5 14.5 8 8 14.5 1.5 8Z" />,
  minus: <path d="M3 8h10" />,
  plus: <path d="M8 3v10M3 8h10" />,
  overview: <path d="M2.5 13.5v-4M6.2 13.5v-8M9.8 13.5V7.5M13.5 13.5v-11" strokeWidth="2" />,
  list: <path d="M2.5 4h.1M2.5 8h.1M2.5 12h.1M5.5 4h8M5.5 8h8M5.5 12h8" />,
  failures: <path d="M2 11.5 6 7.5l2.5 2.5L14 4.5M14 8V4.5h-3.5" />,
  jobs: <path d="M2.5 3.5h11v3h-11zM2.5 9.5h11v3h-11zM5 5h3M5 11h6" />,
  workers: <><circle cx="8" cy="8" r="2.2" /><path d="M8 1.8v2M8 12.2v2M1.8 8h2M12.2 8h2M3.6 3.6 5 5M11 11l1.4 1.4M12.4 3.6 11 5M5 11l-1.4 1.4" /></>,
  letters: <><rect x="2" y="3.5" width="12" height="9" rx="1" /><path d="m2.5 4.5 5.5 4.5 5.5-4.5" /></>,
  audit: <path d="M4 1.8h6l2.5 2.5v10H4zM6 7h4.5M6 10h4.5" />,
  reconcile: <path d="M8 2v12M3 5.5h10M3 5.5 1.5 10h3ZM13 5.5 11.5 10h3ZM5.5 14h5" />,
  definitions: <><rect x="1.8" y="6" width="4" height="4" /><rect x="10.2" y="2" width="4" height="4" /><rect x="10.2" y="10" width="4" height="4" /><path d="M5.8 8H8V4h2.2M8 8v4h2.2" /></>,
  simulator: <path d="M4 2.5 13 8l-9 5.5Z" />,
  settings: <path d="M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M9 3v3M4 10v3M12 3v3h-3V3zM7 10v3H4v-3z" />,
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 14 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round"
      strokeLinejoin="round" aria-hidden="true" focusable="false" className="icon">
      {PATHS[name]}
    </svg>
  );
}
