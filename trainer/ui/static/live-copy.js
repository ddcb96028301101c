// Selects the link that was just made and copies it. Where a page may not write to the clipboard, the box with the
// address is still there to copy from.
() => {
  setTimeout(() => {
    const address = document.querySelector(".lab-link input");
    if (!address) return;
    address.select();
    navigator.clipboard?.writeText(address.value).catch(() => {});
  }, 50);
  return [];
}
