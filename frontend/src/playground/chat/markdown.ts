// A model's answer as a page: Markdown, without anything that could run, load or look like the page itself.
import DOMPurify from "dompurify";
import { Marked } from "marked";
import { element } from "../dom";
import type { Words } from "../words";

const TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong",
  "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const marked = new Marked({
  gfm: true,
  breaks: true, // A model breaks lines where it wants them broken.
  // HTML is shown as it was written.
  renderer: { html: ({ text }) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;") },
});
let blocks = 0;

/** Replace what `target` holds by the answer so far. Its HTML is text, and its pictures are left out. */
export function showMarkdown(target: HTMLElement, answer: string): void {
  const html = marked.parse(answer, { async: false });
  target.classList.add("prose");
  target.replaceChildren(DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "start"], ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, RETURN_DOM_FRAGMENT: true,
  }));
  for (const link of target.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
}

/** Give each block of code of a whole answer a button that copies it. */
export function offerCopies(target: HTMLElement, words: Words): void {
  for (const block of target.querySelectorAll("pre")) {
    block.id = `answered-code-${++blocks}`;
    block.tabIndex = 0; // What scrolls must be reachable by keyboard.
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button button-s";
    button.textContent = words.copy ?? "";
    button.dataset.copy = block.id;
    button.dataset.copied = words.copied ?? "";
    const frame = element("div", "code");
    block.replaceWith(frame);
    frame.append(block, button);
  }
}
