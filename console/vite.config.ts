import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  base: '/console/', // everything else at the root belongs to the API
  plugins: [svelte()],
  build: {
    target: 'es2023',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'], // have light-dark(): rewritten it would not see a theme that is chosen
    modulePreload: { polyfill: false }, // every browser that runs the rest has it
    assetsInlineLimit: 0, // the content security policy allows no data: scripts or fonts
    reportCompressedSize: false, // the bundle test measures
  },
  server: { proxy: { '/v1': { target: 'http://127.0.0.1:8080', ws: true } } },
});
