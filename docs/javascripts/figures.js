// A click on a figure shows it as large as the window; another click, or Escape, closes it.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("figure > a.enlarge");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.append(link.querySelector("img").cloneNode());
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});
