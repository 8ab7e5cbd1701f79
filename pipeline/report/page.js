// Draws a module's plots when its section is opened. Colours are CSS variables: light, dark and paper need no redraw.
(function () {
  "use strict";
  var plots = JSON.parse(document.getElementById("plots").textContent);

  function whole(differences) {
    var sum = 0;
    return differences.map(function (d) { return d === null ? null : (sum += d); });
  }

  function rows(times, lines, factor) {
    var out = [];
    Object.keys(lines).forEach(function (name) {
      whole(lines[name]).forEach(function (v, i) {
        out.push({ t: times[i], k: name, v: v === null ? null : v * factor });
      });
    });
    return out;
  }

  function draw(section) {
    if (section.dataset.drawn) { return; }
    section.dataset.drawn = "yes";
    var holder = section.querySelector("script");
    if (!holder) { return; }
    var data = JSON.parse(holder.textContent);
    var times = whole(data.t);
    section.querySelectorAll("figure").forEach(function (figure) {
      var plot = plots[figure.dataset.plot];
      var spec = JSON.parse(JSON.stringify(plot.spec));
      var values = {
        rows: rows(times, data.lines[figure.dataset.plot] || {}, plot.factor),
        beside: data.beside[figure.dataset.plot] || []
      };
      spec.data.forEach(function (d) { if (values[d.name]) { d.values = values[d.name]; } });
      (spec.signals || []).forEach(function (s) { if (s.name === "weak") { s.value = data.weak; } });
      vegaEmbed(figure.querySelector(".plot"), spec, { mode: "vega", actions: false, renderer: "svg", ast: true, logLevel: 1 });
    });
  }

  document.querySelectorAll(".months").forEach(draw);
  var sections = Array.prototype.slice.call(document.querySelectorAll("details"));
  sections.forEach(function (section) {
    if (section.open) { draw(section); }
    section.addEventListener("toggle", function () { if (section.open) { draw(section); } });
  });
  function show() {
    var asked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (asked && asked.closest("details")) {
      asked.closest("details").open = true;
      asked.scrollIntoView();
    }
  }
  show();
  window.addEventListener("hashchange", show);
  document.getElementById("all").addEventListener("click", function () {
    sections.forEach(function (section) { section.open = true; });
  });
})();
