// The search page: asks Pagefind's index, which is made with the book, and lists what it finds with the page's own words.
{
  const AT_ONCE = 10;
  // Found by trial with tests/site/queries.yml; other values near them find much the same.
  const RANKING = { termFrequency: 0.4, pageLength: 0, termSaturation: 2, metaWeights: { title: 6, keywords: 4 } };
  const here = document.currentScript.src;
  const base = new URL("../", here);
  const field = document.getElementById("search-words");
  const status = document.getElementById("search-status");
  const list = document.getElementById("search-found");

  function link(title, address) {
    const made = document.createElement("a");
    made.href = address;
    made.textContent = title;
    return made;
  }

  function part(place) {
    const item = document.createElement("li");
    item.append(link(place.title, place.url));
    return item;
  }

  function entry(page) {
    const item = document.createElement("li");
    const title = document.createElement("h2");
    title.append(link(page.meta.title, page.url));
    const words = document.createElement("p");
    words.innerHTML = page.excerpt; // Pagefind escapes it, and marks the words
    item.append(title, words);
    const places = page.sub_results.filter(({ anchor, title }) => anchor && title !== page.meta.title).slice(0, 3);
    if (places.length) {
      const inner = document.createElement("ul");
      inner.append(...places.map(part));
      item.append(inner);
    }
    return item;
  }

  async function show(results, from = 0) {
    const pages = await Promise.all(results.slice(from, from + AT_ONCE).map((result) => result.data()));
    list.append(...pages.map(entry));
    const rest = results.length - from - AT_ONCE;
    if (rest <= 0) return;
    const more = document.createElement("button");
    more.textContent = `Show more, ${rest} left`;
    more.onclick = async () => {
      more.remove();
      await show(results, from + AT_ONCE);
    };
    list.after(more);
  }

  // For a word that no page has, Pagefind takes shorter and shorter beginnings of it: three letters are the least we believe.
  function answers(page, query) {
    const asked = query.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
    const shown = [page.excerpt, ...page.sub_results.map(({ excerpt }) => excerpt)].join(" ");
    const marked = [...shown.matchAll(/<mark>(.*?)<\/mark>/g)].map(([, word]) => word);
    const words = `${page.meta.title} ${page.meta.keywords} ${marked.join(" ")}`.toLowerCase();
    return asked.some((word) => words.includes(word.slice(0, Math.min(3, word.length))));
  }

  async function find(query) {
    if (location.protocol === "file:") {
      status.textContent = "The search needs a web server. `make serve` starts one for a site that you built.";
      return;
    }
    status.textContent = "Searching";
    const pagefind = await import(new URL("pagefind/pagefind.js", here));
    await pagefind.options({ baseUrl: base.pathname, excerptLength: 30, ranking: RANKING });
    let { results } = await pagefind.search(query);
    if (results.length && !answers(await results[0].data(), query)) results = [];
    const pages = results.length === 1 ? "1 page" : `${results.length} pages`;
    status.textContent = results.length
      ? `${pages} with “${query}”`
      : `No page has “${query}”. Try fewer words, or the name of a command or a technique.`;
    await show(results);
    list.dataset.query = query; // what is listed is complete
  }

  const query = new URLSearchParams(location.search).get("q")?.trim() ?? "";
  field.value = query;
  if (query) find(query).catch(() => (status.textContent = "The search index could not be loaded. Load the page again."));
  else field.focus();
}
