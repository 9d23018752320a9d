(function () {
  var root = document.documentElement, button = document.getElementById("theme");
  var choices = ["auto", "light", "dark"];
  var names = { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
  function chosen() { return root.getAttribute("data-theme") || "auto"; }
  function show() { button.textContent = names[chosen()]; }
  button.hidden = false;
  show();
  button.addEventListener("click", function () {
    var next = choices[(choices.indexOf(chosen()) + 1) % choices.length];
    if (next === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", next);
    try { localStorage.setItem("recurra-theme", next); } catch (error) { /* of a file it may be refused */ }
    show();
  });
})();
