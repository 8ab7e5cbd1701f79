// Asks for the fleet's state every few seconds and shows it. Names are hostile: text goes in as text, never as markup.
(function () {
  "use strict";
  var EVERY_MS = 5000, OLD_MS = 120000;
  var WORDS = { 1: "act now", 2: "today", 3: "next visit", 4: "fine" };
  var last = null;

  function make(name, text, className) {
    var element = document.createElement(name);
    if (text !== undefined) { element.textContent = text; }
    if (className) { element.className = className; }
    return element;
  }

  function fixed(value, factor, digits, unit) {
    return value === null || value === undefined ? null : (value * factor).toFixed(digits) + " " + unit;
  }

  function ago(ms) {
    var s = Math.max(0, Math.round(ms / 1000));
    if (s < 90) { return s + " s ago"; }
    if (s < 5400) { return Math.round(s / 60) + " min ago"; }
    return s < 172800 ? Math.round(s / 3600) + " h ago" : Math.round(s / 86400) + " days ago";
  }

  function current(ma) {
    if (ma === null || ma === undefined) { return null; }
    if (Math.abs(ma) < 50) { return "0.0 A, resting"; }
    return Math.abs(ma / 1000).toFixed(1) + " A, " + (ma > 0 ? "charging" : "discharging");
  }

  function cells(m) {
    if (m.low_mv === null || m.low_mv === undefined) { return null; }
    return (m.low_mv / 1000).toFixed(3) + " to " + (m.high_mv / 1000).toFixed(3) + " V";
  }

  function spread(m) {
    return m.low_mv === null || m.low_mv === undefined ? null
      : (m.high_mv - m.low_mv) + " mV (cell " + m.low_cell + " low)";
  }

  function closed(m) {
    var off = [];
    if (m.charge_on === 0) { off.push("charging"); }
    if (m.discharge_on === 0) { off.push("discharging"); }
    return off.length ? off.join(" and ") + " cut off" : null;
  }

  function card(m) {
    var never = m.age_ms === null, kind = never ? "never" : m.silent ? "silent" : "l" + m.level;
    var article = make("article", undefined, kind), head = make("h3");
    head.appendChild(make("span", m.stack + " / " + m.module));
    head.appendChild(make("span", never ? "not heard" : m.silent ? "silent" : WORDS[m.level], "tag"));
    article.appendChild(head);
    var list = make("dl");
    [["charge", fixed(m.soc_pm, 0.1, 1, "%")], ["voltage", fixed(m.voltage_mv, 0.001, 2, "V")],
     ["current", current(m.current_ma)], ["cells", cells(m)], ["spread", spread(m)],
     ["warmest", fixed(m.hottest_dc, 0.1, 1, "\u00b0C")], ["switches", closed(m)],
     ["heard", never ? null : ago(m.age_ms)]].forEach(function (pair) {
      if (pair[1] === null) { return; }
      list.appendChild(make("dt", pair[0]));
      list.appendChild(make("dd", pair[1]));
    });
    article.appendChild(list);
    if (m.faults.length) {
      var faults = make("ul");
      m.faults.forEach(function (f) { faults.appendChild(make("li", f.title)); });
      article.appendChild(faults);
    }
    return article;
  }

  function fits(m, site, words, onlyBad) {
    if (onlyBad && m.level === 4 && !m.silent) { return false; }
    var text = [site.name, site.id, m.stack, m.module].concat(m.faults.map(function (f) { return f.title + " " + f.id; }));
    return text.join(" ").toLowerCase().indexOf(words) >= 0;
  }

  function tiles(sums) {
    var list = document.getElementById("tiles");
    list.textContent = "";
    [["modules", "modules"], ["act", "act now"], ["look", "need a look"], ["silent", "silent"]].forEach(function (t) {
      var item = make("li", undefined, t[0] === "act" && sums.act ? "alarm" : "");
      item.appendChild(make("b", String(sums[t[0]])));
      item.appendChild(make("span", t[1]));
      list.appendChild(item);
    });
  }

  function show() {
    if (!last) { return; }
    var words = document.getElementById("find").value.trim().toLowerCase();
    var onlyBad = document.getElementById("bad").checked;
    var when = document.getElementById("when");
    var old = last.newest === null || last.now - last.newest > OLD_MS;
    when.textContent = last.newest === null ? "Nothing was heard within a day."
      : "Newest reading " + ago(last.now - last.newest) + ", at " + new Date(last.newest).toLocaleTimeString() + ".";
    when.className = old ? "period old" : "period";
    document.getElementById("simulated").hidden = !last.simulated;
    tiles(last.sums);
    var main = document.createDocumentFragment();
    last.sites.forEach(function (site) {
      var shown = site.modules.filter(function (m) { return fits(m, site, words, onlyBad); });
      if (!shown.length) { return; }
      main.appendChild(make("h2", site.name));
      var grid = make("div", undefined, "grid");
      shown.forEach(function (m) { grid.appendChild(card(m)); });
      main.appendChild(grid);
    });
    if (!main.childNodes.length) { main.appendChild(make("p", "Nothing to show here.", "none")); }
    document.getElementById("sites").replaceChildren(main);
  }

  function ask() {
    fetch("/state.json", { cache: "no-store" }).then(function (answer) {
      if (!answer.ok) { throw new Error(String(answer.status)); }
      return answer.json();
    }).then(function (state) { last = state; show(); }, function () {
      var when = document.getElementById("when");
      when.textContent = "The server does not answer; this page goes on asking.";
      when.className = "period old";
    }).finally(function () { window.setTimeout(ask, EVERY_MS); });
  }

  document.getElementById("find").addEventListener("input", show);
  document.getElementById("bad").addEventListener("change", show);
  ask();
})();
