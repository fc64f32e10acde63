import type { DomainEvent, EventMeta, Stamped } from '@wrenn/core';
import type { Reason, SandboxSpec } from '../sandbox/events.ts';
import type { SnapshotInfo } from '../vm/events.ts';

/** A sandbox to be started from the snapshot of a fork. Its spec carries secrets. */
export type SnapshotChild = { sandbox_id: string; spec: SandboxSpec };

/**
 * Sent by the sandbox it was made of, once, when the work on the host is over. `info` null: it was not made, but the host
 * may have something of it.
 */
export type SnapshotCreate = {
  type: 'CREATE';
  team_id: string;
  /** A template that people name, or what the children of a fork start from. */
  purpose: 'template' | 'fork';
  /** Empty for a fork. */
  name: string;
  sandbox_id: string;
  host_id: string;
  created_by: string;
  vcpus: number;
  memory_mb: number;
  disk_size_mb: number;
  info: SnapshotInfo | null;
  children: SnapshotChild[];
};
/** Answered at once: it is no template any more. Its files go when its host is there. */
export type SnapshotDelete = { type: 'DELETE' };
/**
 * Answered later, value `{children: ForkedChild[]}`: when the template can be used, or when all children are started or
 * have failed. Sent by who has asked for the snapshot, when the sandbox says that it is made: it may come before the
 * sandbox's own message, and then brings the actor into being, which waits for that.
 */
export type SnapshotAwait = { type: 'AWAIT'; team_id: string };
/** From a child: it runs, or it will not (or nobody knows yet, where its host got lost: then the error says so). */
export type ChildSettled = { type: 'CHILD_SETTLED'; sandbox_id: string; error: Reason | null };
/** The host has nothing of it. */
export type SnapshotGone = { type: 'SNAPSHOT_GONE' };
export type SnapshotHostDeleted = { type: 'HOST_DELETED'; host_id: string };

export type SnapshotEvent =
  | SnapshotCreate
  | SnapshotDelete
  | SnapshotAwait
  | ChildSettled
  | SnapshotGone
  | SnapshotHostDeleted;
export type StampedSnapshotEvent = Stamped<SnapshotEvent & DomainEvent>;

export type ForkedChild = { sandbox_id: string; settled: boolean; error: Reason | null };

export type SnapshotContext = {
  snapshot_id: string;
  team_id: string;
  purpose: 'template' | 'fork';
  name: string;
  sandbox_id: string;
  host_id: string;
  created_by: string;
  created_at: number;
  vcpus: number;
  memory_mb: number;
  disk_size_mb: number;
  info: SnapshotInfo | null;
  children: ForkedChild[];
  /** It was not made, and was deleted once more after a while. */
  lingered: boolean;
  /** Message ids of AWAIT commands that have no answer yet. */
  waiters: string[];
};
export type SnapshotInput = { snapshot_id: string; event: SnapshotCreate | SnapshotAwait; meta: EventMeta };
