import { hostSetup } from './setup.ts';

/**
 * A machine of the fleet, as the control plane knows it.
 *
 * `pending` waits for the agent to register with its one-time token. Then the host is `active` in four regions:
 * `presence` follows the heartbeats (online ⇄ unreachable), `inventory` compares what the host has with what the control
 * plane thinks, `duty` says whether it takes new work (open, draining, evicting), and `credentials` when they must be
 * renewed. `deleted` is final; the row stays for old sandboxes to refer to.
 *
 * Rules that the states keep:
 * - The timer of silence is armed anew by every heartbeat; who sends fewer than one in 90 s is lost (H4).
 * - Lost: every sandbox of the host hears HOST_LOST. Back: one inventory first, then HOST_BACK to each with what is true.
 *   Nothing is decided here about a sandbox; its own actor decides by the report.
 * - The sweep is the safety net under the watch stream, not the mechanism: its HOST_BACK is told only to sandboxes whose
 *   actor thinks otherwise.
 * - A VM there that no sandbox owns is noted by the inventory, and ended once it was noted for longer than a grace time.
 * - DELETE without force is refused while sandboxes are there, and the host stays as it was (H6). DELETE is answered at
 *   `deleted` or with that refusal.
 *
 * Who sends what: CREATE … DELETE are commands. REGISTERED, HEARTBEAT and CREDENTIALS_… come from the API's routes of the
 * agent. LOST_TOLD, INVENTORIED, EVICTED and their failures are results of effects.
 */
export const hostMachine = hostSetup.createMachine({
  id: 'host',
  context: ({ input }) => ({
    host_id: input?.host_id ?? '',
    team_id: input?.event.team_id ?? null,
    name: input?.event.name ?? '',
    tags: input?.event.tags ?? [],
    created_by: input?.event.created_by ?? '',
    created_at: input?.meta.at ?? 0,
    registered_at: null,
    address: null,
    specs: null,
    credentials: null,
    store_id: null,
    cursor: 0,
    vms: 0,
    load: {},
    last_heartbeat_at: null,
    orphans: [],
    lost: false,
    draining: false,
    evicting: false,
    deleted: false,
    status_since: input?.meta.at ?? 0,
    delete_force: false,
    delete_waiters: [],
  }),
  entry: { type: 'audit', params: { action: 'host.add', status: 'success' } },
  initial: 'pending',
  states: {
    pending: {
      description: 'Its registration token is out.',
      tags: ['rest'],
      initial: 'waiting',
      on: {
        REGISTERED: {
          target: 'active',
          actions: ['noteRegistration', { type: 'audit', params: { action: 'host.registered', status: 'success' } }],
        },
        NEW_TOKEN: '.waiting',
        SET_TAGS: { actions: 'noteTags' },
        DELETE: { target: 'deleted', actions: 'addDeleter' },
      },
      states: {
        waiting: { after: { TOKEN_TTL: 'lapsed' } },
        lapsed: { description: 'The token is no longer good; a new one may be made.' },
      },
    },

    active: {
      description: 'Registered. Four regions beside each other.',
      tags: ['rest'],
      type: 'parallel',
      on: {
        NEW_TOKEN: { actions: { type: 'audit', params: { action: 'host.new_token', status: 'info' } } },
        SET_TAGS: { actions: 'noteTags' },
      },
      states: {
        presence: {
          initial: 'online',
          on: { REGISTERED: { target: '.online', reenter: true, actions: 'noteRegistration' } },
          states: {
            online: {
              description: 'Its heartbeats come.',
              entry: { type: 'state', params: { lost: false } },
              after: { HEARTBEAT_SILENCE: 'unreachable' },
              on: { HEARTBEAT: { target: 'online', reenter: true, actions: 'noteHeartbeat' } },
            },
            unreachable: {
              description: 'No heartbeat for 90 s.',
              entry: [
                { type: 'state', params: { lost: true } },
                { type: 'audit', params: { action: 'host.marked_down', status: 'warning' } },
              ],
              on: {
                HEARTBEAT: {
                  target: 'online',
                  actions: ['noteHeartbeat', { type: 'audit', params: { action: 'host.marked_up', status: 'info' } }],
                },
              },
              initial: 'telling',
              states: {
                telling: {
                  description: 'Tells its sandboxes.',
                  tags: ['work'],
                  entry: { type: 'effect', params: { name: 'host.lost' } },
                  after: { TELL_REVIEW: { target: 'telling', reenter: true } },
                  on: { LOST_TOLD: 'told' },
                },
                told: { after: { TELL_AGAIN: 'telling' } },
              },
            },
          },
        },

        inventory: {
          initial: 'listing',
          on: { REGISTERED: '.listing' },
          states: {
            listing: {
              description: 'Asks for all VMs of the host, and tells sandboxes what is true.',
              tags: ['work'],
              entry: { type: 'effect', params: { name: 'host.inventory' } },
              after: { INVENTORY_DEADLINE: 'resting' },
              on: {
                INVENTORIED: [
                  {
                    guard: 'endedOrphans',
                    target: 'resting',
                    actions: [
                      'noteOrphans',
                      { type: 'audit', params: { action: 'host.orphans_ended', status: 'warning' } },
                    ],
                  },
                  { target: 'resting', actions: 'noteOrphans' },
                ],
                INVENTORY_FAILED: 'resting',
                HEARTBEAT: { guard: 'wasLost', target: 'listing', reenter: true },
              },
            },
            resting: {
              description: 'Until the next sweep, or the return of the host.',
              after: {
                SWEEP_EVERY: [
                  { guard: 'isThere', target: 'listing' },
                  { target: 'resting', reenter: true },
                ],
              },
              on: { HEARTBEAT: { guard: 'wasLost', target: 'listing' } },
            },
          },
        },

        duty: {
          initial: 'open',
          states: {
            open: {
              description: 'Takes new sandboxes.',
              entry: { type: 'state', params: { draining: false, evicting: false } },
              on: {
                DRAIN: {
                  target: 'draining',
                  actions: { type: 'audit', params: { action: 'host.drain', status: 'success' } },
                },
                DELETE: { target: 'evicting', actions: 'addDeleter' },
              },
            },
            draining: {
              description: 'Keeps what it has, takes nothing new.',
              entry: { type: 'state', params: { draining: true, evicting: false } },
              on: {
                UNDRAIN: {
                  target: 'open',
                  actions: { type: 'audit', params: { action: 'host.undrain', status: 'success' } },
                },
                DELETE: { target: 'evicting', actions: 'addDeleter' },
              },
            },
            evicting: {
              description: 'Looks whether it is empty, or empties it by force; revokes its credentials.',
              tags: ['work'],
              entry: [
                { type: 'state', params: { evicting: true } },
                { type: 'effect', params: { name: 'host.evict' } },
              ],
              after: { EVICT_REVIEW: { target: 'evicting', reenter: true } },
              on: {
                EVICTED: '#host.deleted',
                EVICT_REFUSED: [
                  { guard: 'wasDraining', target: 'draining', actions: 'answerNotEmpty' },
                  { target: 'open', actions: 'answerNotEmpty' },
                ],
                DELETE: [
                  { guard: 'forcesNow', target: 'evicting', reenter: true, actions: 'addDeleter' },
                  { actions: 'addDeleter' },
                ],
              },
            },
          },
        },

        credentials: {
          initial: 'valid',
          on: {
            REGISTERED: '.valid',
            CREDENTIALS_RENEWED: { target: '.valid', actions: 'noteCredentials' },
            CREDENTIALS_REVOKED: '.revoked',
          },
          states: {
            valid: { after: { RENEWAL_DUE: 'renewing' } },
            renewing: { description: 'The host should renew them now (H2).', after: { EXPIRY: 'expired' } },
            expired: { description: 'Neither token is good; the host must register again.' },
            revoked: { description: 'They were revoked; the host must register again.' },
          },
        },
      },
    },

    deleted: {
      description: 'No longer of the fleet.',
      type: 'final',
      entry: [
        { type: 'state', params: { deleted: true } },
        'answerDeleted',
        { type: 'audit', params: { action: 'host.delete', status: 'success' } },
      ],
    },
  },
});
