// What the report's page does: filter, search, unfold. Without it, the page is the same with everything in it.
{
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const toolbar = document.querySelector('.toolbar');
  const search = toolbar.querySelector('input');
  const filters = all('[data-filter]', toolbar);
  const unfold = toolbar.querySelector('[data-unfold]');
  const found = toolbar.querySelector('.found');
  const nothing = document.querySelector('.nothing');
  const runs = all('.run');
  const groups = all('.group');
  // What a check is searched by, read when first needed.
  let entries;

  function read() {
    entries ??= [
      ...all('.check').map((element) => ({
        element,
        statuses: [element.dataset.status],
        text: element.textContent.toLowerCase(),
      })),
      ...all('.matrix tbody tr').map((element) => ({
        element,
        statuses: element.dataset.statuses.split(' '),
        text: element.firstElementChild.textContent.toLowerCase(),
      })),
    ];
    return entries;
  }

  const pressed = (button) => button.getAttribute('aria-pressed') === 'true';
  const press = (button, on) => button.setAttribute('aria-pressed', String(on));

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = filters.filter(pressed).map((button) => button.dataset.filter);
    const narrowed = words.length > 0 || wanted.length > 0;
    let checks = 0;
    let shown = 0;
    for (const { element, statuses, text } of read()) {
      const fits =
        (wanted.length === 0 || statuses.some((status) => wanted.includes(status))) &&
        words.every((word) => text.includes(word));
      element.hidden = !fits;
      if (!element.matches('.check')) continue;
      checks += 1;
      if (fits) shown += 1;
    }
    for (const group of groups) group.hidden = !group.querySelector('.check:not([hidden])');
    for (const run of runs) {
      const has = run.querySelector('.check:not([hidden])') !== null;
      run.hidden = narrowed && !has && runs.length > 1;
      if (narrowed && has && 'open' in run) run.open = true;
    }
    nothing.hidden = shown > 0 || checks === 0;
    found.textContent = narrowed ? `${shown} of ${checks} checks` : '';
  }

  function clear() {
    search.value = '';
    for (const button of filters) press(button, false);
    apply();
  }

  /** Opens what an address points to, and all that it is in. */
  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.closest('[hidden]')) clear();
    for (let at = target; at; at = at.parentElement) if ('open' in at) at.open = true;
    target.scrollIntoView();
    if (target.matches('details')) target.querySelector('summary').focus({ preventScroll: true });
  }

  search.addEventListener('input', apply);
  toolbar.addEventListener('submit', (event) => event.preventDefault());
  for (const button of filters)
    button.addEventListener('click', () => {
      press(button, !pressed(button));
      apply();
    });
  unfold.addEventListener('click', () => {
    const open = !pressed(unfold);
    press(unfold, open);
    for (const element of all('#checks details')) element.open = open || element.matches('.run');
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') clear();
    else if (event.key === '/' && !event.ctrlKey && !event.metaKey && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    }
  });
  addEventListener('hashchange', reveal);

  // On paper nothing unfolds: what is not a pass is printed in full.
  let folded = [];
  addEventListener('beforeprint', () => {
    folded = all('details:not([open])').filter((element) => element.dataset.status !== 'pass');
    for (const element of folded) element.open = true;
  });
  addEventListener('afterprint', () => {
    for (const element of folded) element.open = false;
  });

  toolbar.hidden = false;
  reveal();
}
