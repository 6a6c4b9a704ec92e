// Browser files that website.ts embeds as text; Bun knows the loader from the import attribute, TypeScript only from here.

declare module "*/page/api.js" {
  const text: string;
  export default text;
}
declare module "*/page/app.js" {
  const text: string;
  export default text;
}
declare module "*/page/consoles.js" {
  const text: string;
  export default text;
}
declare module "*/page/hash-worker.js" {
  const text: string;
  export default text;
}
declare module "*/page/screen.js" {
  const text: string;
  export default text;
}
declare module "*/page/sha256.js" {
  const text: string;
  export default text;
}
declare module "*/page/sound.js" {
  const text: string;
  export default text;
}
declare module "*/page/source.js" {
  const text: string;
  export default text;
}
declare module "*/page/tabs.js" {
  const text: string;
  export default text;
}
declare module "*/page/terminal.js" {
  const text: string;
  export default text;
}
declare module "*/page/upload.js" {
  const text: string;
  export default text;
}
declare module "*/page/style.css" {
  const text: string;
  export default text;
}
declare module "*/page/icon.svg" {
  const text: string;
  export default text;
}
