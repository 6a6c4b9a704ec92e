// Names as the Kubernetes API accepts them: what may be put into one of its URLs without a second thought.

const LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/** RFC 1123 label: lower case letters, digits and inner dashes, at most 63. Namespaces are such. */
export function isLabelName(text: string): boolean {
  return text.length <= 63 && LABEL.test(text);
}

/**
 * RFC 1123 subdomain: labels joined by dots, at most 253 in all. Virtual machines are such. Kubernetes counts the whole only:
 * a name without dots may be longer than 63.
 */
export function isSubdomainName(text: string): boolean {
  return text.length <= 253 && text.split(".").every((label) => LABEL.test(label));
}
