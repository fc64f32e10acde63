import type { Component } from 'svelte';
import CapsuleList from '../capsules/CapsuleList.svelte';
import CapsulePage from '../capsules/CapsulePage.svelte';
import StatsPage from '../capsules/StatsPage.svelte';
import FleetPage from '../fleet/FleetPage.svelte';
import ActorPage from '../inspector/ActorPage.svelte';
import OfflinePage from '../inspector/OfflinePage.svelte';
import KeysPage from '../keys/KeysPage.svelte';
import SnapshotsPage from '../snapshots/SnapshotsPage.svelte';

export interface View {
  readonly title: string;
  /** Address in the navigation that it belongs to. */
  readonly section: string;
  readonly component: Component<{ params: string[] }>;
  readonly params: string[];
  /** Needs nobody signed in. */
  readonly open?: boolean;
}

interface ViewSpec extends Omit<View, 'params'> {
  readonly pattern: RegExp;
}

/** A page that needs nothing of its address. */
const plain = (component: Component<Record<string, never>>) => component as unknown as View['component'];

const VIEWS: readonly ViewSpec[] = [
  {
    pattern: /^\/dashboard\/capsules\/list$/,
    title: 'Capsules',
    section: '/dashboard/capsules/list',
    component: plain(CapsuleList),
  },
  {
    pattern: /^\/dashboard\/capsules\/stats$/,
    title: 'Capsules in numbers',
    section: '/dashboard/capsules/list',
    component: plain(StatsPage),
  },
  {
    pattern: /^\/dashboard\/capsules\/(sb[a-z0-9]{20})$/,
    title: 'Capsule',
    section: '/dashboard/capsules/list',
    component: CapsulePage,
  },
  { pattern: /^\/dashboard\/fleet$/, title: 'Fleet', section: '/dashboard/fleet', component: plain(FleetPage) },
  {
    pattern: /^\/dashboard\/actors\/(sandbox|snapshot|host|vm)\/([a-z0-9.-]+)$/,
    title: 'Actor',
    section: '/dashboard/fleet',
    component: ActorPage,
  },
  {
    pattern: /^\/dashboard\/snapshots$/,
    title: 'Snapshots',
    section: '/dashboard/snapshots',
    component: plain(SnapshotsPage),
  },
  { pattern: /^\/dashboard\/keys$/, title: 'Keys', section: '/dashboard/keys', component: plain(KeysPage) },
  {
    pattern: /^\/dashboard\/open$/,
    title: 'Open a journal',
    section: '/dashboard/open',
    component: plain(OfflinePage),
    open: true,
  },
];

/** What an address shows; null where it shows nothing. */
export function viewOf(path: string): View | null {
  for (const { pattern, ...view } of VIEWS) {
    const match = pattern.exec(path);
    if (match) return { ...view, params: match.slice(1) };
  }
  return null;
}

/** In the navigation. */
export const SECTIONS = [
  { path: '/dashboard/capsules/list', name: 'Capsules' },
  { path: '/dashboard/fleet', name: 'Fleet' },
  { path: '/dashboard/snapshots', name: 'Snapshots' },
  { path: '/dashboard/keys', name: 'Keys' },
  { path: '/dashboard/open', name: 'Open a journal' },
] as const;

/** Pages that are gone to by name. */
export const PAGES = [...SECTIONS, { path: '/dashboard/capsules/stats', name: 'Capsules in numbers' }] as const;
