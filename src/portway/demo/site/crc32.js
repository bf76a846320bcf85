/* CRC-32 as in zlib and PNG, eight bytes per step: 100 MB take a fraction of a second. */

const TABLES = (() => {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let byte = 0; byte < 256; byte++) {
    for (let table = 1; table < 8; table++) {
      const crc = tables[table - 1][byte];
      tables[table][byte] = (crc >>> 8) ^ tables[0][crc & 255];
    }
  }
  return tables;
})();

/** Continue a checksum with more bytes; start with 0. */
export function crc32(bytes, sum) {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  let crc = ~sum;
  let at = 0;
  for (const end = bytes.length - 7; at < end; at += 8) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc =
      t7[crc & 255] ^ t6[(crc >>> 8) & 255] ^ t5[(crc >>> 16) & 255] ^ t4[crc >>> 24] ^
      t3[bytes[at + 4]] ^ t2[bytes[at + 5]] ^ t1[bytes[at + 6]] ^ t0[bytes[at + 7]];
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[at]) & 255];
  return ~crc;
}

/** The checksum as eight hex digits. */
export function hex(sum) {
  return (sum >>> 0).toString(16).padStart(8, "0");
}
