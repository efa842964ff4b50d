/**
 * What `format` asks of a string, as regular expressions. Each allows a part of what its standard does, of which every
 * validator thinks the same: no leap seconds, no fractions of a duration, addresses and hosts as most are.
 *
 * Sources: RFC 3339 (date, time), RFC 5321, RFC 1123, RFC 2673, RFC 4291, RFC 9562 (uuid), RFC 3986, RFC 6901.
 */

/** Multiples of four, but of hundreds only those of 400. */
const LEAP_YEAR = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
const DAY =
  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))";
const DATE = `(?:\\d{4}-${DAY}|${LEAP_YEAR}-02-29)`;
const TIME = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = `(?:${BYTE}\\.){3}${BYTE}`;
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const HOSTNAME = `${LABEL}(?:\\.${LABEL}){0,2}`;
const DOMAIN = `${LABEL}(?:\\.${LABEL}){0,1}\\.[A-Za-z]{2,20}`;
const GROUP = "[0-9a-fA-F]{1,4}";
const PATH_CHARACTER = "[A-Za-z0-9._~!$&'()*+,;=:@-]";

/** Counts of units in their order, with none left out between two: 1Y2M, but not 1Y3D. */
function units([first, second, third]: string): string {
  const last = `\\d{1,9}${third}`;
  const two = `\\d{1,9}${second}(?:${last})?`;
  return `(?:\\d{1,9}${first}(?:${two})?|${two}|${last})`;
}

export const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  duration: `P(?:${units("YMD")}(?:T${units("HMS")})?|T${units("HMS")}|\\d{1,9}W)`,
  email: `[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,31})?@${DOMAIN}`,
  hostname: HOSTNAME,
  ipv4: IPV4,
  ipv6: `(?:(?:${GROUP}:){7}${GROUP}|::(?:${GROUP}(?::${GROUP}){0,5})?|${GROUP}::${GROUP}(?::${GROUP}){0,4})`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
  uri: `https?://${DOMAIN}(?:/${PATH_CHARACTER}{0,200}){0,20}`,
  "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
};
