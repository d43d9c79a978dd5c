// The page's colours, chosen before anything is drawn: hence no module, which would come late.
(() => {
  const html = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const recall = () => {
    try { return localStorage.getItem('cpi-hub.theme') ?? ''; } catch { return ''; }
  };

  function show(chosen) {
    const theme = ['light', 'dark'].includes(chosen) ? chosen : '';
    if (theme) html.dataset.theme = theme;
    else delete html.dataset.theme;
    const isDark = theme ? theme === 'dark' : dark.matches;
    const colour = isDark ? '#141821' : '#ffffff';
    document.querySelector('meta[name="theme-color"]').setAttribute('content', colour);
  }

  dark.addEventListener('change', () => show(html.dataset.theme ?? ''));
  // Other tabs of the page follow.
  addEventListener('storage', ({ key }) => { if (key === 'cpi-hub.theme') show(recall()); });
  html.addEventListener('themechosen', ({ detail }) => show(detail));
  show(recall());
})();
