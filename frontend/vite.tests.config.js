import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

// Node's own test runner takes JavaScript: each file in src/tests is built for it, apart from pages.
const FOLDER = "src/tests";
const tests = readdirSync(FOLDER).filter((name) => name.endsWith(".test.ts"));

export default defineConfig({
  build: {
    ssr: true,
    target: "node20",
    outDir: "dist-tests",
    emptyOutDir: true,
    rollupOptions: { input: tests.map((name) => `${FOLDER}/${name}`) },
  },
});
