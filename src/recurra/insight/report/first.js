try {
  var theme = localStorage.getItem("recurra-theme");
  if (theme === "light" || theme === "dark") document.documentElement.setAttribute("data-theme", theme);
} catch (error) { /* of a file it may be refused */ }
