"""The page's style and its few lines of script. Colours come from the theme, so that dark and light both hold."""

CSS = """
footer { display: none !important; }
.gradio-container { max-width: 1500px !important; }
.card { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 10px; gap: 8px; }
.item { display: flex; gap: 12px; }
.item .words { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.item h3, .grid h3 { margin: 0 0 4px; font-size: 1.05em; font-weight: 600; color: var(--body-text-color); }
.item p { margin: 2px 0; }
.facts { font-size: 0.9em; color: var(--body-text-color) !important; }
.picture { width: 120px; height: 120px; object-fit: contain; background: white; border-radius: 8px; flex: none; }
.picture.none { display: grid; place-items: center; color: #444; font-size: 0.85em; }
details summary { cursor: pointer; padding: 4px 0; }
details ul { padding-left: 1.2em; list-style: disc; }
audio { height: 32px; vertical-align: middle; max-width: 100%; }
.shares { margin: 6px 0; font-size: 0.9em; }
.bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; background: var(--border-color-primary); }
.share { height: 100%; display: block; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 12px; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 4px; }
.s0 { background: #0d9488; } .s1 { background: #d97706; } .s2 { background: #7c3aed; } .s3 { background: #2563eb; }
.buttons { flex-wrap: wrap; gap: 6px; }
.buttons button { flex: 1 1 auto; min-width: fit-content; }
.buttons > .block { flex: 0 0 auto; min-width: fit-content !important; overflow: visible; }
#theme { align-self: flex-end; width: auto; flex: none; }
button[role=tab][aria-selected=true] { color: var(--body-text-color) !important; font-weight: 600; }
.chips label { border-radius: 999px !important; }
.comparison { overflow-x: auto; }
.comparison table { border-collapse: collapse; width: 100%; }
.comparison th, .comparison td { padding: 6px 10px; border: 1px solid var(--border-color-primary); text-align: left; }
.comparison tr.differ td { font-weight: 600; }
.comparison .picture { width: 72px; height: 72px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 12px; list-style: none; padding: 0; }
.grid li { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 8px; overflow-wrap: anywhere; }
button:focus-visible, summary:focus-visible, input:focus-visible, .comparison:focus-visible {
  outline: 3px solid var(--color-accent); outline-offset: 2px;
}
@media (max-width: 640px) {
  .gradio-container { padding: 4px !important; }
  .picture { width: 84px; height: 84px; }
}
"""
# "Like" five times over tells a screen reader nothing: every control of a card is named with the card's title.
LABELS = """
() => {
  const name = () => document.querySelectorAll(".card").forEach((card) => {
    const title = card.querySelector("h3")?.textContent.replace(/^\\d+\\. /, "");
    if (!title) return;
    card.setAttribute("role", "group");
    card.setAttribute("aria-label", title);
    card.querySelectorAll(".buttons button").forEach((b) => b.setAttribute("aria-label", `${b.textContent.trim()}: ${title}`));
    card.querySelectorAll(".buttons label").forEach((l) =>
      l.querySelector("input")?.setAttribute("aria-label", `${l.textContent.trim()}: ${title}`));
  });
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true, characterData: true });
  name();
}
"""
THEME = "() => { document.body.classList.toggle('dark'); }"
# The export never becomes a file of the server's, which anyone with its address could read: the browser makes one of the text.
SAVE = """
(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "mmllm-profile.json";
  link.click();
  URL.revokeObjectURL(link.href);
}
"""
