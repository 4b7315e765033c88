// Runs before the console in any browser, however old. Below Chromium 89 the page says what to install instead of staying white.
(function () {
  var ok = typeof Promise !== "undefined" && typeof globalThis === "object" && "BroadcastChannel" in window && !!String.prototype.replaceAll;
  var chrome = /Chrom(?:e|ium)\/(\d+)/.exec(navigator.userAgent);
  if (chrome && Number(chrome[1]) < 89) ok = false;
  if (ok) return;
  document.addEventListener("DOMContentLoaded", function () {
    document.body.innerHTML =
      '<div style="max-width:560px;margin:80px auto;font:16px/1.7 sans-serif">' +
      "<h1>浏览器版本过低</h1><p>本系统需要 Chromium 内核 89 以上的浏览器（如 Chrome、Edge、360 安全浏览器 13、奇安信、统信浏览器的新版本，并使用极速模式），或 Firefox 90、Safari 15 以上。</p>" +
      "<p>请联系本单位信息管理员安装。</p><p>This browser is too old: please install one based on Chromium 89 or newer.</p></div>";
  });
})();
