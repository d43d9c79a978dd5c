// Pictures that messages link to. Loading one tells its server who looks, so one is shown when the
// person asks for it, or at once where the person chose so.
import { element } from './element.js';
import { recall } from './memory.js';
import { say, text } from './texts.js';

const PICTURE = /\.(?:avif|gif|jpe?g|png|webp)$/i;
const SHOWN_MAX = 4;

/** What stands below a message with these addresses: pictures, or buttons that bring them. */
export function picturesOf(urls) {
  const found = urls.filter(({ protocol, pathname }) => (
    protocol === 'https:' && PICTURE.test(pathname)));
  if (!found.length) return [];
  const atOnce = recall('pictures') === 'show';
  return found.slice(0, SHOWN_MAX).map((url) => (atOnce ? picture(url) : offer(url)));
}

function offer(url) {
  const button = element('button', { type: 'button', class: 'picture-offer' });
  say(button, () => text('picture_show', { host: url.host }));
  button.onclick = () => {
    const shown = picture(url);
    button.replaceWith(shown);
    shown.focus();
  };
  return button;
}

// The frame has its size before the picture is there, so that nothing moves when it comes.
function picture(url) {
  const { host, href } = url;
  const rel = 'noopener noreferrer nofollow';
  const frame = element('a', { class: 'picture', href, target: '_blank', rel });
  const image = element('img', { loading: 'lazy', referrerpolicy: 'no-referrer' });
  say(image, () => text('picture_alt', { host }), 'alt');
  image.onerror = () => {
    frame.toggleAttribute('data-failed', true);
    frame.replaceChildren(say(element('span'), () => text('picture_failed', { host })));
  };
  image.src = href;
  frame.append(image);
  return frame;
}
