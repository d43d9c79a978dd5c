// How the conversation scrolls: it follows its end until the person scrolls up, and what is read
// stays where it is while things above it come and go. It knows nothing of messages.

const BOTTOM_PX = 40;
/** More than rounding, less than a finger's move. */
const MOVED_PX = 2;

export class Scroll {
  #scroller;
  #top = 0;
  #far = false;
  #height = 0;
  #soon = null;
  #following = true;
  #hasMore = () => false;

  /**
   * @param {Element} scroller its children are what scrolls
   * @param {{hasMore: () => boolean, moved: () => void, signal: AbortSignal}} means `hasMore`:
   *   whether the end that is shown is not the conversation's
   */
  constructor(scroller, { hasMore, moved, signal }) {
    this.#scroller = scroller;
    this.#hasMore = hasMore;
    scroller.addEventListener('scroll', () => {
      this.look();
      moved();
    }, { signal, passive: true });
    // A keyboard on a phone's screen, a picture that unfolds: the end stays in sight.
    const resized = new ResizeObserver(() => { if (this.#following) this.toBottom(); });
    for (const node of [scroller, ...scroller.children]) resized.observe(node);
    signal.addEventListener('abort', () => resized.disconnect());
  }

  /** Whether the end stays in sight: until the person scrolls up, and from the end on again. */
  get following() { return this.#following; }
  set following(is) { this.#following = is; }

  get above() { return this.#scroller.scrollTop; }
  get below() {
    const { scrollHeight, clientHeight, scrollTop } = this.#scroller;
    return scrollHeight - clientHeight - scrollTop;
  }

  /** Whether the end was more than a screen away when the person last scrolled. */
  get isFar() { return this.#far; }

  // What arrived since the last scroll is below the screen too, and nobody scrolled up for that:
  // only a move up ends the following, only a move down (or the very end) begins it.
  look() {
    const { below } = this;
    const moved = this.#scroller.scrollTop - this.#top;
    const { clientHeight } = this.#scroller;
    const resized = clientHeight !== this.#height;
    this.#top = this.#scroller.scrollTop;
    this.#height = clientHeight;
    this.#far = below > clientHeight;
    // A screen of another size scrolls by itself; the end is put back in sight.
    if (resized && this.#following) return;
    if (this.#hasMore()) this.#following = false;
    else if (below < MOVED_PX || (moved > 0 && below < BOTTOM_PX)) this.#following = true;
    else if (moved < 0 && below > MOVED_PX) this.#following = false;
  }

  toBottom() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#top = this.#scroller.scrollTop;
    this.#height = this.#scroller.clientHeight;
    this.#far = false;
  }

  /** Before the next picture, and once however much comes until then. */
  toBottomSoon() {
    this.#following = true;
    this.#soon ??= requestAnimationFrame(() => {
      this.#soon = null;
      if (this.#following) this.toBottom();
    });
  }

  /** Brings a node into sight, `share` of the screen below its upper edge. */
  toNode(node, share) {
    const { top, height } = this.#scroller.getBoundingClientRect();
    const at = node.getBoundingClientRect().top - top;
    this.#scroller.scrollTop += at - height * share;
    this.#top = this.#scroller.scrollTop;
    this.#following = !this.#hasMore() && this.below < MOVED_PX;
  }

  /** Where a node is: 'above' or 'below' what is seen, or 'inside'. */
  placeOf(node) {
    const seen = this.#scroller.getBoundingClientRect();
    const box = node.getBoundingClientRect();
    if (box.bottom <= seen.top) return 'above';
    return box.top >= seen.bottom ? 'below' : 'inside';
  }

  /** Changes what is above the screen; the distance to the end is what stays. */
  keepPlace(change) {
    const left = this.#scroller.scrollHeight - this.#scroller.scrollTop;
    change();
    this.#scroller.scrollTop = this.#scroller.scrollHeight - left;
    this.#top = this.#scroller.scrollTop;
  }
}
