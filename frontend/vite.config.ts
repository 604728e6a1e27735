import { defineConfig } from "vite";

// Django serves the result: django-vite reads the manifest, WhiteNoise the files under /static/.
export default defineConfig({
  base: "/static/",
  // The manifest names files of packages as if below here, also where node_modules is a link.
  resolve: { preserveSymlinks: true },
  build: {
    manifest: true,
    outDir: "dist",
    assetsInlineLimit: 0,
    rollupOptions: { input: { main: "src/main.ts", playground: "src/islands/playground.ts", charts: "src/islands/charts.ts", curves: "src/islands/curves.ts", topology: "src/islands/topology.ts", passkeys: "src/islands/passkeys.ts", start: "src/islands/start.ts" } },
  },
});
