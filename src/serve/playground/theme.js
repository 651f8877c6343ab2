// Sets light or dark before anything is painted; it runs ahead of the modules for that reason.

(() => {
  const KEY = 'ggraft.theme';
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  let chosen = null;
  try {
    chosen = localStorage.getItem(KEY);
  } catch {
    // A private window may refuse; the system's choice holds then.
  }
  const now = () => chosen ?? (system.matches ? 'dark' : 'light');
  const apply = () => {
    root.dataset.theme = now();
    const button = document.getElementById('theme');
    const other = now() === 'dark' ? 'light' : 'dark';
    button?.setAttribute('aria-label', `switch to ${other}`);
    button?.setAttribute('title', `switch to ${other}`);
  };
  apply();
  system.addEventListener('change', apply);
  addEventListener('DOMContentLoaded', () => {
    apply();
    document.getElementById('theme').addEventListener('click', () => {
      chosen = now() === 'dark' ? 'light' : 'dark';
      try {
        localStorage.setItem(KEY, chosen);
      } catch {
        // It holds until the page is left.
      }
      apply();
    });
  });
})();
