// The page's height where a keyboard on the screen covers it: some browsers shrink the page by
// themselves, others only say how much of it is left.

const COVERED_MIN_PX = 80;

/** Keeps the page as high as what is seen of it. */
export function fitViewport() {
  const view = globalThis.visualViewport;
  if (!view) return;
  const fit = () => {
    // A page that is zoomed in is seen in part, and covered by nothing.
    const covered = view.scale > 1.01 ? 0 : innerHeight - view.height;
    const { style } = document.documentElement;
    if (covered < COVERED_MIN_PX) style.removeProperty('--height');
    else {
      style.setProperty('--height', `${view.height}px`);
      scrollTo(0, 0);
    }
  };
  for (const type of ['resize', 'scroll']) view.addEventListener(type, fit);
  fit();
}
