// Who is in the space: a list while the hub announces each one, a number in big spaces.
import { jitter } from './seams.js';

const REREAD = { min: 500, max: 15_000 };

export class Roster {
  #means;
  #users = new Map();
  #members = 0;
  /** Whether the users are known: not before the first answer, nor where there are too many. */
  #listed = false;
  /** Joins and leaves so far: a list that was read between two of them may lack one. */
  #steps = 0;
  #reading = 0;
  #again = null;

  /**
   * @param {{seams: object, read: () => Promise<object>, barrier: () => Promise<void>,
   *   changed: (people: object) => void}} means `read` asks the hub for the list; `barrier`
   *   resolves when all that the hub had said by then has been heard
   */
  constructor(means) {
    this.#means = means;
  }

  /** {members, users}: connections, and {user_id, username, connections} of each if known. */
  get people() {
    if (!this.#listed) return { members: this.#members, users: null };
    const users = [...this.#users.values()];
    const members = users.reduce((sum, { connections }) => sum + connections, 0);
    return { members, users };
  }

  /** The last name of a user who is here, else ''. */
  nameOf(userId) { return this.#users.get(userId)?.username ?? ''; }

  /** The client itself is in the space, for the first time or again: the list may be old. */
  entered(own) {
    if (this.#listed) this.join(own);
    this.#read();
  }

  /** The connection is gone: what is known is kept, and read again at the next one. */
  left() {
    this.#reading += 1;
    this.#means.seams.clearTimeout(this.#again);
    this.#again = null;
  }

  /** Somebody came; where only the number was known, single joins are announced again. */
  join({ user_id, username }) {
    const connections = (this.#users.get(user_id)?.connections ?? 0) + 1;
    this.#step(() => this.#users.set(user_id, { user_id, username, connections }));
  }

  /** Somebody left, or one of the user's connections did. */
  leave({ user_id }) {
    const user = this.#users.get(user_id);
    const connections = (user?.connections ?? 1) - 1;
    this.#step(() => {
      if (connections > 0) this.#users.set(user_id, { ...user, connections });
      else this.#users.delete(user_id);
    });
  }

  /** The hub tells the number only. */
  counted(members) {
    this.left();
    this.#users.clear();
    this.#listed = false;
    this.#members = members;
    this.#means.changed(this.people);
  }

  /** A number that came along with something else: the list, once known, is better. */
  heardOf(members) {
    this.#members = members;
    if (!this.#listed) this.#means.changed(this.people);
  }

  #step(apply) {
    this.#steps += 1;
    if (this.#listed) {
      apply();
      this.#means.changed(this.people);
    } else if (this.#again === null) {
      this.#read();
    }
  }

  // Reads until nobody came or went meanwhile: then the list and what follows it fit together.
  async #read() {
    this.left();
    const turn = this.#reading;
    const { seams, read, barrier } = this.#means;
    this.#again = 0;
    for (let tries = 1; ; tries++) {
      const before = this.#steps;
      const list = await read().catch(() => null);
      if (list) await barrier();
      if (turn !== this.#reading) return;
      if (list?.truncated) return this.counted(list.members);
      const whole = before === this.#steps;
      if (list && (whole || !this.#listed)) this.#show(list);
      if (list && whole) break;
      await new Promise((resolve) => {
        this.#again = seams.setTimeout(resolve, jitter(seams.random, tries, REREAD));
      });
      if (turn !== this.#reading) return;
    }
    this.#again = null;
  }

  #show({ users }) {
    this.#users = new Map(users.map((user) => [user.user_id, user]));
    this.#listed = true;
    this.#means.changed(this.people);
  }
}
