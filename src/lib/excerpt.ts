// What a message shows of a file's text. Who makes the mistake may have pointed at a key or a token, and messages go to logs
// and to the admin API: the beginning is enough to find the place by, and is no secret.

/** Characters. */
const MOST = 20;

/** The beginning, with an ellipsis when there is more, and without the user and the password of a URL. */
export function excerpt(whole: string): string {
  const text = whole.replace(/(:\/\/)\S*@/g, "$1...@");
  if (text.length <= MOST) return text;
  const characters = [...text.slice(0, 2 * MOST + 2)];
  return characters.length > MOST ? `${characters.slice(0, MOST).join("")}…` : text;
}

/** A sentence of the YAML library in our style, lower case and no period; what it quotes of the file is an excerpt. */
export function yamlFault(message: string): string {
  if (message.includes("multiple documents")) return "a second document begins here (\"---\"): one file holds one";
  const [, said = message, quoted = ""] = /^(.*?(?:[\w)]:|directive) )(.*)$/s.exec(message) ?? [];
  const short = said === message ? message.replace(/\.$/, "") : `${said}${excerpt(quoted)}`;
  return `not valid YAML: ${short.charAt(0).toLowerCase()}${short.slice(1)}`;
}
