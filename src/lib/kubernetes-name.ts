// Names as the Kubernetes API accepts them: what may be put into one of its URLs without a second thought.

/** RFC 1123 label: lower case letters, digits and inner dashes, at most 63. Namespaces are such. */
export function isLabelName(text: string): boolean {
  return text.length <= 63 && /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(text);
}

/** RFC 1123 subdomain: labels joined by dots, at most 253 in all. Virtual machines are such. */
export function isSubdomainName(text: string): boolean {
  return text.length <= 253 && text.split(".").every(isLabelName);
}
