(() => {
  const root = document.documentElement;
  const say = document.getElementById('say');
  for (const box of document.querySelectorAll('input[data-hides]')) {
    const apply = () => root.classList.toggle('hide-' + box.dataset.hides, !box.checked);
    box.addEventListener('change', apply);
    apply();
  }
  const titled = (node) => node.closest('.message, .note, .fault, .failure, .part');
  document.addEventListener('mouseover', (event) => {
    const title = event.target.closest('svg') && titled(event.target)?.querySelector('title');
    if (title) say.textContent = title.textContent;
    say.classList.toggle('is-shown', Boolean(title));
  });
  document.addEventListener('click', (event) => {
    const message = event.target.closest('.message');
    if (message) {
      message.classList.toggle('pinned');
      const picture = message.closest('svg');
      picture.classList.toggle('is-tracing', picture.querySelector('.pinned') !== null);
    }
  });
  document.getElementById('jump')?.addEventListener('click', () => {
    const shown = [...document.querySelectorAll('g.failure')].find((g) => g.getClientRects().length);
    shown?.scrollIntoView({ block: 'center' });
  });
  document.getElementById('copy').addEventListener('click', async (event) => {
    const code = document.getElementById('command');
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand('copy');
    }
    event.target.textContent = 'copied';
  });
})();
