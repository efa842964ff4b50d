/**
 * What `format` asks of a string, as regular expressions. Each allows a part of what its standard does, of which every
 * validator thinks the same: a 29th of February depends on the year, so there is none.
 *
 * Sources: RFC 3339 (date, time), RFC 5321, RFC 1123, RFC 2673, RFC 4291, RFC 9562 (uuid), RFC 3986, RFC 6901.
 */
const DATE =
  "\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))";
const TIME = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = `(?:${BYTE}\\.){3}${BYTE}`;
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const HOSTNAME = `${LABEL}(?:\\.${LABEL}){0,2}`;
const DOMAIN = `${LABEL}(?:\\.${LABEL}){0,1}\\.[A-Za-z]{2,20}`;
const GROUP = "[0-9a-fA-F]{1,4}";
const PATH_CHARACTER = "[A-Za-z0-9._~!$&'()*+,;=:@-]";

export const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  duration: "P(?:\\d{1,9}D(?:T\\d{1,9}H)?|T\\d{1,9}[HMS]|\\d{1,9}[WMY])",
  email: `[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,31})?@${DOMAIN}`,
  hostname: HOSTNAME,
  ipv4: IPV4,
  ipv6: `(?:(?:${GROUP}:){7}${GROUP}|::(?:${GROUP}(?::${GROUP}){0,5})?|${GROUP}::${GROUP}(?::${GROUP}){0,4})`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
  uri: `https?://${DOMAIN}(?:/${PATH_CHARACTER}{0,200}){0,20}`,
  "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
};
