const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  ...["January", "February", "March", "April", "May", "June"],
  ...["July", "August", "September", "October", "November", "December"],
];

/**
 * A date as C's strftime writes it, in UTC and English whatever the host: the directives that chat templates use.
 * Others stay as they are.
 *
 * @throws {TypeError} If `format` is not a string.
 */
export function strftime(date: Date, format: unknown): string {
  if (typeof format !== "string") throw new TypeError("strftime_now needs a format string");
  return format.replace(/%(-?)([A-Za-z%])/g, (directive, unpadded: string, letter: string) => {
    const padded = (value: number) => (unpadded ? String(value) : String(value).padStart(2, "0"));
    switch (letter) {
      case "Y":
        return String(date.getUTCFullYear());
      case "y":
        return padded(date.getUTCFullYear() % 100);
      case "m":
        return padded(date.getUTCMonth() + 1);
      case "B":
        return MONTHS[date.getUTCMonth()];
      case "b":
        return MONTHS[date.getUTCMonth()].slice(0, 3);
      case "d":
        return padded(date.getUTCDate());
      case "A":
        return DAYS[date.getUTCDay()];
      case "a":
        return DAYS[date.getUTCDay()].slice(0, 3);
      case "H":
        return padded(date.getUTCHours());
      case "I":
        return padded(date.getUTCHours() % 12 || 12);
      case "p":
        return date.getUTCHours() < 12 ? "AM" : "PM";
      case "M":
        return padded(date.getUTCMinutes());
      case "S":
        return padded(date.getUTCSeconds());
      case "%":
        return "%";
      default:
        return directive;
    }
  });
}
