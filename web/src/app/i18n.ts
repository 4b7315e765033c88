// zh-CN texts are the keys; English is looked up in en.ts. A text without a translation shows in Chinese.
import i18next from "i18next";
import { initReactI18next } from "react-i18next";

const stored = () => {
  try {
    return localStorage.getItem("zz-lang");
  } catch {
    return null; // storage may be switched off by policy
  }
};

export async function startI18n() {
  await i18next.use(initReactI18next).init({
    lng: "zh-CN",
    fallbackLng: false,
    keySeparator: false,
    nsSeparator: false,
    returnEmptyString: false,
    interpolation: { escapeValue: false },
    resources: { "zh-CN": { translation: {} } },
  });
  if (stored() === "en") await setLanguage("en");
}

export async function setLanguage(lng: "zh-CN" | "en") {
  if (lng === "en" && !i18next.hasResourceBundle("en", "translation")) {
    const { en } = await import("./en");
    i18next.addResourceBundle("en", "translation", en);
  }
  await i18next.changeLanguage(lng);
  document.documentElement.lang = lng;
  try {
    localStorage.setItem("zz-lang", lng);
  } catch {
    // without storage the choice lasts until the page is closed
  }
}
